"""Weights in fewer bits: float16, or whole numbers of 8 or 4 bits with a scale for each row, and back.

Knows tensors; nothing of models, files or accuracy.

A row is what one output of a layer, or one entry of a table, is made of: the first dimension. Its scale maps its
largest absolute value to 127 (to 7 in 4 bits), symmetric around 0 (Jacob et al. 2018, arXiv 1712.05877, section 2.1,
with zero-point 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from pipelines.training.compress.recipe import Precision

__all__ = ["Weight", "halves", "num_bytes", "plan_of", "stored", "unpacked", "widened"]

_LARGEST: Final[dict[Precision, int]] = {"int8": 127, "int4": 7}


class Weight(NamedTuple):
    """A tensor as it is stored: `values` in fp32, fp16 or int8, or uint8 with two numbers of 4 bits in each byte, the
    last dimension halved; `scale` float16[rows] beside whole numbers."""

    precision: Precision
    values: Tensor
    scale: Tensor | None = None

    def wide(self) -> Tensor:
        """float32 in the tensor's shape: what the model computes with."""
        wide = unpacked(self.values) if self.precision == "int4" else self.values.float()
        return wide if self.scale is None else wide * _along_rows(self.scale, wide)


def stored(tensor: Tensor, precision: Precision) -> Weight:
    """A float32 tensor in a precision. Whole numbers are for two dimensions and more; the scale is rounded first, so
    that they are the nearest ones to what is read back. Out of the range of float16 the result is infinite."""
    if precision == "fp32":
        return Weight(precision, tensor.clone())
    if precision == "fp16":
        return Weight(precision, tensor.half())
    largest = _LARGEST[precision]
    scale = (tensor.flatten(1).abs().amax(dim=1) / largest).half()
    step = _along_rows(torch.where(scale > 0, scale, 1).float(), tensor)
    values = (tensor / step).round().clamp(-largest, largest)
    return Weight(precision, values.to(torch.int8) if precision == "int8" else _packed(values), scale)


def halves(tensor: Tensor) -> bool:
    """Whether a tensor can be stored in 4 bits: two dimensions, the last of them even."""
    return tensor.ndim == 2 and tensor.shape[1] % 2 == 0


def unpacked(values: Tensor) -> Tensor:
    """float32[…, 2·D] of uint8[…, D]: the high halves first, each 8 above its number. Plain arithmetic, so that every
    runtime of an export has it."""
    bytes_ = values.float()
    high = (bytes_ / 16).floor()
    return torch.cat([high, bytes_ - 16 * high], dim=-1) - 8


def _packed(values: Tensor) -> Tensor:
    high, low = (values + 8).to(torch.uint8).chunk(2, dim=-1)
    return high * 16 + low


def plan_of(tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Precision]:
    """The uniform plan: every tensor in that precision, but vectors (gains, biases) never below fp16."""
    return {name: "fp16" if precision == "int8" and t.ndim < 2 else precision for name, t in tensors.items()}


def widened(weights: Mapping[str, Weight]) -> dict[str, Tensor]:
    """The float32 tensors of all of them: a state dict."""
    return {name: weight.wide() for name, weight in weights.items()}


def num_bytes(weights: Mapping[str, Weight]) -> int:
    """Bytes of the numbers alone."""
    tensors = [t for weight in weights.values() for t in (weight.values, weight.scale) if t is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _along_rows(scale: Tensor, like: Tensor) -> Tensor:
    return scale.float().view(-1, *(1,) * (like.ndim - 1))

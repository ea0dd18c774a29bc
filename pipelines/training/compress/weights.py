"""Weights in fewer bits: float16, or whole numbers of 8 bits with a scale for each row, and back.

Knows tensors; nothing of models, files or accuracy.

A row is what one output of a layer, or one entry of a table, is made of: the first dimension. Its scale maps its
largest absolute value to 127, symmetric around 0 (Jacob et al. 2018, arXiv 1712.05877, section 2.1, with zero-point 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from pipelines.training.compress.recipe import Precision

__all__ = ["Weight", "num_bytes", "plan_of", "stored", "widened"]

_LARGEST: Final = 127


class Weight(NamedTuple):
    """A tensor as it is stored: `values` in fp32, fp16 or int8; `scale` float16[rows] beside int8."""

    precision: Precision
    values: Tensor
    scale: Tensor | None = None

    def wide(self) -> Tensor:
        """float32 in the tensor's shape: what the model computes with."""
        wide = self.values.float()
        return wide if self.scale is None else wide * _along_rows(self.scale, wide)


def stored(tensor: Tensor, precision: Precision) -> Weight:
    """A float32 tensor in a precision. Whole numbers are for two dimensions and more; the scale is rounded first, so
    that they are the nearest ones to what is read back. Out of the range of float16 the result is infinite."""
    if precision == "fp32":
        return Weight(precision, tensor.clone())
    if precision == "fp16":
        return Weight(precision, tensor.half())
    scale = (tensor.flatten(1).abs().amax(dim=1) / _LARGEST).half()
    step = _along_rows(torch.where(scale > 0, scale, 1).float(), tensor)
    values = (tensor / step).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return Weight(precision, values, scale)


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

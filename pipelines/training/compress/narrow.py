"""A model that holds its weights as they are stored and widens them when it computes: what is exported.

Knows modules and stored weights. A widened matrix of constants is folded away by the runtime that loads the export; of
a table only the rows asked for are widened.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.compress.weights import Weight, unpacked
from pipelines.training.model import Model
from pipelines.training.rotary import table_for
from pipelines.training.sequences import Rotary
from pipelines.training.transformer import EncoderClassifier

__all__ = ["ImageScorer", "TextScorer", "scorer"]


class _Narrow(nn.Module):
    """A layer whose weight is a buffer of narrow numbers, and its scales where it has some."""

    values: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(self, layer: Any, weight: Weight):
        super().__init__()
        self.is_packed = weight.precision == "int4"
        self.register_buffer("values", weight.values)
        self.register_buffer("scale", weight.scale)
        self.register_buffer("bias", None if getattr(layer, "bias", None) is None else layer.bias.detach())

    def wide(self, values: Tensor) -> Tensor:
        return unpacked(values) if self.is_packed else values.float()

    def weight(self) -> Tensor:
        wide = self.wide(self.values)
        return wide if self.scale is None else wide * self.scale.float().view(-1, *(1,) * (wide.ndim - 1))


class _Linear(_Narrow):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight(), self.bias)


class _Conv2d(_Narrow):
    def __init__(self, layer: nn.Conv2d, weight: Weight):
        super().__init__(layer, weight)
        self.stride, self.padding = layer.stride, layer.padding

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.conv2d(x_BCHW, self.weight(), self.bias, self.stride, self.padding)


class _Embedding(_Narrow):
    def forward(self, ids: Tensor) -> Tensor:
        rows = self.wide(F.embedding(ids, self.values))
        return rows if self.scale is None else rows * F.embedding(ids, self.scale[:, None]).float()


_KINDS: dict[type[nn.Module], Any] = {nn.Linear: _Linear, nn.Conv2d: _Conv2d, nn.Embedding: _Embedding}


class TextScorer(nn.Module):
    """Ids int64[B, T] and which of them are real bool[B, T] to scores [B, C], for any T up to the context."""

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(self, model: EncoderClassifier, context: int):
        super().__init__()
        self.model = model
        head_width = model.norm.weight.numel() // model.heads
        cos_TD, sin_TD = table_for(context, head_width, Rotary(), 1.0, context, torch.device("cpu"))
        self.register_buffer("cos_TD", cos_TD.clone(), persistent=False)
        self.register_buffer("sin_TD", sin_TD.clone(), persistent=False)

    def forward(self, ids_BT: Tensor, keys_BT: Tensor) -> Tensor:
        length = ids_BT.shape[1]
        return self.model(ids_BT, keys_BT, table=(self.cos_TD[:length], self.sin_TD[:length]))


class ImageScorer(nn.Module):
    """Pixels float32[B, C, S, S] to scores [B, C]."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.model(pixels_BCHW)


def scorer(model: Model, weights: dict[str, Weight], context: int | None) -> nn.Module:
    """A copy of the model that computes from the stored weights; the model is of the weights' widened values.

    `context`: of a text classifier.
    """
    made = copy.deepcopy(model).eval().requires_grad_(False)
    for name, layer in list(made.named_modules()):
        weight = weights.get(f"{name}.weight")
        if type(layer) in _KINDS and weight is not None and weight.precision != "fp32":
            parent, _, child = name.rpartition(".")
            setattr(made.get_submodule(parent), child, _KINDS[type(layer)](layer, weight))
    return ImageScorer(made) if context is None else TextScorer(made, context)  # type: ignore[arg-type]

"""Which units go: importance by the gradient of a mask, the least important over all layers first.

Knows models, batches and masks; how a unit is taken out is `structure.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curator.errors import RecipeError
from pipelines.training.compress.recipe import Prune
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.structure import Family, Layer, layers
from pipelines.training.feed import TensorBatch
from pipelines.training.model import Model

__all__ = ["chosen", "importance", "masked", "require_prunable"]


def importance(model: Model, batches: Sequence[TensorBatch]) -> dict[str, Tensor]:
    """For each layer the importance of its units, float32[units]: E|∂L/∂m| over rows, with m = 1 the mask of a unit
    (Michel et al. 2019, arXiv 1905.10650, section 4.1), divided by the layer's ℓ2 norm so that layers compare."""
    found: dict[str, Tensor] = {}
    for batch in batches:
        masks = {layer.name: torch.ones(len(batch), layer.num_units, requires_grad=True) for layer in layers(model)}
        with masked(model, masks):
            loss = F.cross_entropy(run_of(model)(batch.inputs, batch.keys_BT), batch.targets, reduction="sum")
        for name, slope in zip(masks, torch.autograd.grad(loss, list(masks.values())), strict=True):
            found[name] = found.get(name, 0) + slope.abs().sum(dim=0)
    return {name: total / total.norm().clamp(min=1e-20) for name, total in found.items()}


def chosen(model: Model, wish: Prune, importances: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The units that stay, int64 indices in order, of every layer that loses some; each keeps at least one."""
    kept: dict[str, Tensor] = {}
    for family in _FAMILIES:
        own = [layer for layer in layers(model) if layer.family == family]
        number = _number(wish, family, own)
        for layer in own if number else ():
            kept[layer.name] = torch.arange(layer.num_units)
        for name, unit in _least_first(importances, own):
            if not number:
                break
            if len(kept[name]) > 1:
                kept[name], number = kept[name][kept[name] != unit], number - 1
    return kept


def require_prunable(model: Model, wish: Prune) -> None:
    """Raises RecipeError for shares that this model cannot lose."""
    for family in _FAMILIES:
        own, share = [layer for layer in layers(model) if layer.family == family], getattr(wish, family)
        if share and not own:
            has = ", ".join(sorted({layer.family for layer in layers(model)}))
            raise RecipeError(f"prune.{family} {share}: the model has no {family}, only {has}; leave it out")
        total, most = sum(layer.num_units for layer in own), sum(layer.num_units - 1 for layer in own)
        if (number := _number(wish, family, own)) > most:
            raise RecipeError(
                f"prune.{family} {share} is {number} of {total}, and each of {len(own)} layers keeps at least one; "
                f"{most / total:.2f} is the most"
            )


@contextmanager
def masked(model: Model, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it the units of the layers named are multiplied by a mask: [units], or [B, units], one for each row."""
    handles = [_hook(layer, masks[layer.name]) for layer in layers(model) if layer.name in masks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_FAMILIES: tuple[Family, ...] = ("heads", "feed_forward", "channels")


def _hook(layer: Layer, mask: Tensor) -> Any:
    wide = mask.repeat_interleave(layer.width, dim=-1)

    def multiplied(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        if x.ndim == 4:
            return (x * wide[..., None, None],)
        return (x * (wide if wide.ndim == 1 else wide[:, None]),)

    return layer.reader.register_forward_pre_hook(multiplied)


def _number(wish: Prune, family: Family, own: Sequence[Layer]) -> int:
    """Units to take out, rounded down."""
    return int(getattr(wish, family) * sum(layer.num_units for layer in own) + 1e-9)


def _least_first(importances: Mapping[str, Tensor], own: Sequence[Layer]) -> list[tuple[str, int]]:
    ranked = [(value, layer.name, unit) for layer in own for unit, value in enumerate(importances[layer.name].tolist())]
    return [(name, unit) for _, name, unit in sorted(ranked)]

"""Importance by the gradient of a mask, and which units go."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from curator.errors import RecipeError
from pipelines.training.compress.prune import chosen, importance, masked, require_prunable
from pipelines.training.compress.recipe import Prune
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.structure import layers, shape_of
from tests.pipelines.training.compress.conftest import Trained


def test_importance_is_the_slope_of_the_loss(either: Trained) -> None:
    """Against finite differences, row by row."""
    model, [batch, *_] = either.model.model, either.rows.batches
    found = importance(model, [batch])
    layer = next(iter(layers(model)))
    slopes = []
    for unit in range(layer.num_units):
        losses = []
        for value in (0.99, 1.01):
            mask = torch.ones(layer.num_units)
            mask[unit] = value
            with torch.no_grad(), masked(model, {layer.name: mask}):
                losses.append(
                    F.cross_entropy(run_of(model)(batch.inputs, batch.keys_BT), batch.targets, reduction="none")
                )
        slopes.append(((losses[1] - losses[0]) / 0.02).abs().sum())
    expected = torch.stack(slopes)
    assert torch.allclose(found[layer.name], expected / expected.norm(), atol=2e-2)


def test_the_gradient_s_order_costs_less_than_magnitude_s_and_than_chance(text: Trained) -> None:
    """Half of the heads and three fifths of the feed-forward units masked, by three orders: loss on held-out rows."""
    model, rows = text.model.model, text.rows
    wish = Prune(heads=0.5, feed_forward=0.6)
    size = {layer.name: layer.reader.weight.detach().square().sum(0) for layer in layers(model)}  # type: ignore[operator]
    magnitude = {layer.name: size[layer.name].view(layer.num_units, -1).sum(1).sqrt() for layer in layers(model)}
    draws = torch.Generator().manual_seed(0)
    chances = [
        {name: torch.rand(number, generator=draws) for name, number in shape_of(model).items()} for _ in range(8)
    ]

    def loss(importances: dict[str, torch.Tensor]) -> float:
        kept = chosen(model, wish, importances)
        masks = {name: torch.zeros(number) for name, number in shape_of(model).items()}
        for name, units in kept.items():
            masks[name][units] = 1.0
        with masked(model, masks):
            return rows.measure(rows.scores(run_of(model))).mean_loss

    by_gradient = loss(importance(model, rows.batches[:1]))
    by_chance = sorted(map(loss, chances))
    assert by_gradient < loss(magnitude)
    assert by_gradient < by_chance[len(by_chance) // 2]


def test_the_least_important_go_and_each_layer_keeps_one(text: Trained) -> None:
    model = text.model.model
    importances = {name: torch.arange(number, 0, -1.0) for name, number in shape_of(model).items()}
    importances["blocks.0.heads"] *= 0.01
    kept = chosen(model, Prune(heads=0.5), importances)
    assert kept["blocks.0.heads"].tolist() == [0] and kept["blocks.1.heads"].tolist() == [0, 1, 2]
    assert "blocks.0.feed_forward" not in kept


def test_an_impossible_share_is_refused(text: Trained, image: Trained) -> None:
    with pytest.raises(RecipeError, match=r"prune.heads 0.9 is 7 of 8, and each of 2 layers keeps.*0.75 is the most"):
        require_prunable(text.model.model, Prune(heads=0.9))
    with pytest.raises(RecipeError, match="the model has no heads, only channels"):
        require_prunable(image.model.model, Prune(heads=0.5))
    require_prunable(text.model.model, Prune(heads=0.75))

"""Precision by layer: sensitivity is what it says, and the plan spends its bytes where they matter."""

from __future__ import annotations

import pytest
import torch

from curator.errors import RecipeError
from pipelines.training.compress.candidate import Candidate, planned
from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.sensitivity import budgeted, sensitivities, uniform_bytes
from pipelines.training.compress.weights import num_bytes, stored, widened
from tests.pipelines.training.compress.conftest import Trained

TENSORS = {"a": torch.ones(10, 10), "b": torch.ones(10, 10), "gain": torch.ones(10)}
SIZES = {"fp16": 200, "int8": 120, "int4": 70}


def _costs(a: float, b: float) -> dict[tuple[str, Precision], float]:
    scale: dict[Precision, float] = {"fp16": 0.0, "int8": 1.0, "int4": 10.0}
    found = {(name, p): cost * scale[p] for name, cost in (("a", a), ("b", b)) for p in scale}
    return {**found, ("gain", "fp16"): 0.0}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (420, ("fp16", "fp16")), (419, ("int8", "fp16")), (339, ("int8", "int8")), (259, ("int4", "int8")),
        (160, ("int4", "int4")),
    ],
)  # fmt: skip
def test_the_less_sensitive_goes_first(budget: int, expected: tuple[str, str]) -> None:
    plan = budgeted(TENSORS, _costs(1e-4, 1e-3), budget)
    assert (plan["a"], plan["b"]) == expected and plan["gain"] == "fp16"
    assert num_bytes({name: stored(t, plan[name]) for name, t in TENSORS.items()}) <= budget


def test_less_than_the_narrowest_is_refused() -> None:
    with pytest.raises(RecipeError, match="159 bytes are fewer than the 160"):
        budgeted(TENSORS, _costs(1.0, 1.0), 159)


def test_sensitivity_is_the_move_of_the_scores(text: Trained) -> None:
    candidate, batches = Candidate.of(text.model), text.rows.batches
    found = sensitivities(candidate, batches)
    assert all(cost >= -1e-9 for cost in found.values())
    table = "ngram_embedding.weight"
    assert found[table, "fp16"] < found[table, "int8"] < found[table, "int4"]
    plan: dict[str, Precision] = {name: "fp32" for name in candidate.weights}
    moved = planned(candidate, {**plan, table: "int4"})
    before, after = (text.rows.scores(run_of(one.trained.model)).double().softmax(1) for one in (candidate, moved))
    expected = (before * (before / after).log()).sum(1).mean()
    assert found[table, "int4"] == pytest.approx(float(expected), rel=1e-4)


def test_a_plan_moves_the_scores_less_than_with_costs_turned_around(text: Trained) -> None:
    candidate, batches = Candidate.of(text.model), text.rows.batches
    tensors, costs = widened(candidate.weights), sensitivities(candidate, batches)
    budget, most = 0.7 * uniform_bytes(tensors), max(costs.values())
    turned = {key: -most / max(cost, 1e-12) for key, cost in costs.items()}
    wide = text.rows.scores(run_of(candidate.trained.model))
    moves = []
    for own in (costs, turned):
        made = planned(candidate, budgeted(tensors, own, budget))
        assert num_bytes(made.weights) <= budget
        moves.append(float((text.rows.scores(run_of(made.trained.model)) - wide).square().mean()))
    assert moves[0] < moves[1]

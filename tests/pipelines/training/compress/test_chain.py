"""The chain: what passes is gone on from; an injected regression of any stage is rolled back, every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from curator.storage import Store
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress import chain as links
from pipelines.training.compress.candidate import Candidate, with_weights
from pipelines.training.compress.chain import Chain
from pipelines.training.compress.export import FILES
from pipelines.training.compress.recipe import Adaptive, CompressRecipe, Distil, Prune, Quantise, Retrain
from pipelines.training.compress.weights import Weight, stored
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.pull import open_rows
from pipelines.training.rows import RowStream
from tests.pipelines.training.compress.conftest import Trained


def _turned(model: Any) -> None:
    """The classes change places."""
    model.head.weight.copy_(model.head.weight.roll(1, dims=0))
    model.head.bias.copy_(model.head.bias.roll(1, dims=0))


def _noise(model: Any) -> None:
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))


def _nan(model: Any) -> None:
    model.head.bias[0] = torch.nan


RUINS: dict[str, Callable[[Any], None]] = {
    "classes changed": _turned,
    "noise": _noise,
    "one value lost": _nan,
    "all zero": lambda model: [parameter.zero_() for parameter in model.parameters()],
}


@pytest.fixture
def chain(either: Trained) -> Chain:
    return Chain(either.model, 1000, either.rows)


def _rows(trained: Trained) -> Callable[[TrainingRecipe], RowStream]:
    return lambda recipe: open_rows(trained.root, trained.manifest, recipe)


@pytest.mark.parametrize("ruin", sorted(RUINS))
@pytest.mark.parametrize("stage", ["fp16", "int8"])
def test_a_bad_stage_of_quantisation_is_rolled_back(
    either: Trained, chain: Chain, monkeypatch: pytest.MonkeyPatch, stage: str, ruin: str
) -> None:
    whole = links.quantised

    def spoiled(candidate: Candidate, precision: Any) -> Candidate:
        made = whole(candidate, precision)
        if precision != stage:
            return made
        with torch.no_grad():
            RUINS[ruin](made.trained.model)
        return with_weights(made.trained, _fp32(made.trained))

    monkeypatch.setattr(links, "quantised", spoiled)
    chain.quantise(Quantise(max_loss_fp16=0.05, max_loss_int8=0.05), _rows(either))
    assert [step.name for step in chain.steps if not step.kept] == [stage]
    _stands(chain, {"fp16": {"int8", "fp16"}, "int8": {"fp16"}}[stage])


@pytest.mark.parametrize("ruin", sorted(RUINS))
@pytest.mark.parametrize("stage", ["distilled", "pruned"])
def test_bad_learning_is_rolled_back(
    either: Trained, chain: Chain, monkeypatch: pytest.MonkeyPatch, stage: str, ruin: str
) -> None:
    def spoiled(lesson: Any, *_: Any) -> None:
        with torch.no_grad():
            RUINS[ruin](lesson.student)

    monkeypatch.setattr(links, "learn", spoiled)
    if stage == "distilled":
        chain.distil(Distil(width=0.5, max_loss=0.1), _rows(either), seed=0)
    else:
        share = {"heads": 0.25} if either.model.recipe.kind == "text-classifier" else {"channels": 0.25}
        chain.prune(Prune(**share, max_loss=0.1), _rows(either), seed=0)
    assert [step.kept for step in chain.steps] == [True, False]
    _stands(chain, {"fp32"})


def _fp32(trained: TrainedModel) -> dict[str, Weight]:
    return {name: stored(tensor, "fp32") for name, tensor in trained.model.state_dict().items()}


def _stands(chain: Chain, precisions: set[str]) -> None:
    """What is gone on from is as good as the last step that was kept, and untouched."""
    last = [step for step in chain.steps if step.kept][-1]
    assert chain.measured.accuracy == last.accuracy > 0.9
    again = Chain(chain.best.trained, 1000, chain.held_out)
    assert again.measured == chain.measured
    assert {weight.precision for weight in chain.best.weights.values()} == precisions
    assert all("rolled back" in step.why for step in chain.steps if not step.kept)


def test_a_stage_that_is_taken_back_is_tried_once_more_with_training(
    text: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, made = links.quantised, list[str]()

    def spoiled_at_first(candidate: Candidate, precision: Any) -> Candidate:
        made.append(precision)
        found = whole(candidate, precision)
        if made.count("int8") == 1 and precision == "int8":
            with torch.no_grad():
                _turned(found.trained.model)
        return found

    monkeypatch.setattr(links, "quantised", spoiled_at_first)
    chain = Chain(text.model, 1000, text.rows)
    retrain = Retrain(epochs=1)
    chain.quantise(Quantise(max_loss_fp16=0.05, max_loss_int8=0.05, retrain=retrain), _rows(text))
    assert [(step.name, step.kept) for step in chain.steps] == [
        ("trained", True), ("fp16", True), ("int8", False), ("int8, retrained", True)
    ]  # fmt: skip
    assert made == ["fp16", "int8", "int8"] and "1 epochs with its rounding" in chain.steps[-1].why
    _stands(chain, {"int8", "fp16"})
    pairs = zip(chain.best.trained.model.parameters(), text.model.model.parameters(), strict=True)
    assert not any(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs), "all have learned"


@pytest.mark.parametrize("ruin", sorted(RUINS))
def test_a_bad_plan_by_layer_is_rolled_back(
    either: Trained, chain: Chain, monkeypatch: pytest.MonkeyPatch, ruin: str
) -> None:
    whole = links.planned

    def spoiled(candidate: Candidate, plan: Any) -> Candidate:
        made = whole(candidate, plan)
        with torch.no_grad():
            RUINS[ruin](made.trained.model)
        return with_weights(made.trained, _fp32(made.trained))

    monkeypatch.setattr(links, "planned", spoiled)
    adaptive = Adaptive(budget=1.0, calibration_rows=16, max_loss=0.05)
    chain.quantise(Quantise(stages=("fp16",), max_loss_fp16=0.05, adaptive=adaptive), _rows(either))
    assert [step.name for step in chain.steps if not step.kept] == ["adaptive"]
    _stands(chain, {"fp16"})


@pytest.mark.parametrize(("turned", "told"), [(True, "rolled back"), (False, "do not pay here")])
def test_int8_activations_that_are_worse_or_slower_are_not_written(
    text: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, turned: bool, told: str
) -> None:
    chain, model = Chain(text.model, 1000, text.rows), text.model.model

    def slow(inputs: Any, keys: Any) -> Any:
        for _ in range(3):
            scores = model(inputs, keys)
        return scores.roll(1, dims=1) if turned else scores

    monkeypatch.setattr(links, "export", lambda *_: {"onnx-dynamic": b"a file"})
    monkeypatch.setattr(links, "loaded", lambda *_: slow)
    chain.export(CompressRecipe(export=("onnx-dynamic",)), Store.open(tmp_path))
    assert not chain.steps[-1].kept and told in chain.steps[-1].why
    assert not (tmp_path / FILES["onnx-dynamic"]).exists()

"""A step learns: every kind of model, every precision, with the loss of each row before the update."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.training.classes import ClassTable
from pipelines.training.feed import TensorBatch, feed_for
from pipelines.training.kinds import Optimiser, Precision, TrainingRecipe
from pipelines.training.model import build
from pipelines.training.precision import place
from pipelines.training.step import Learner, losses
from tests.pipelines.training.examples import SMALL, fast, table_for

CLASSES = {
    "text-classifier": ClassTable(("science", "sport", "trade")),
    "image-classifier": ClassTable((0, 1)),
    "video-classifier": ClassTable((0, 1)),
}


def _made(recipe: TrainingRecipe, rows: int = 24, precision: Precision = "fp32") -> tuple[Learner, TensorBatch]:
    classes = CLASSES.get(recipe.kind)
    [batch] = table_for(recipe, rows).combine_chunks().to_batches()
    model = build(recipe, len(classes or ()), torch.device("cpu"))
    return Learner(model, recipe.optimiser, place("cpu", precision)), feed_for(recipe, classes)(batch, None)


@pytest.mark.parametrize("kind", list(SMALL))
def test_a_tiny_set_is_learned_by_heart(kind: str) -> None:
    plain = {"augment": "none"} if kind in ("image-classifier", "video-classifier") else {}
    learner, batch = _made(fast(SMALL[kind], width=32, **plain))
    first = learner.step(batch, 5e-3)
    for _ in range(150):
        last = learner.step(batch, 5e-3)
    if kind == "language-model":  # the first word of a text cannot be known: ln 3 over about 20 tokens stays
        assert float(last.mean) < 0.25 < float(first.mean)
    else:
        assert last.correct_B is not None and bool(last.correct_B.all())
        assert float(last.mean) < 0.02 < float(first.mean)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", list(SMALL))
def test_every_precision_learns_and_keeps_float32_weights(kind: str, precision: Precision) -> None:
    learner, batch = _made(SMALL[kind], precision=precision)
    results = [learner.step(batch, 5e-3) for _ in range(12)]
    assert float(results[-1].mean) < float(results[0].mean)
    assert all(parameter.dtype == torch.float32 for parameter in learner.model.parameters())
    assert results[-1].per_sample_B.dtype == torch.float32 and not results[-1].per_sample_B.requires_grad
    exact, _ = _made(SMALL[kind])
    reference = exact.step(batch, 5e-3)
    assert float(results[0].mean) == pytest.approx(float(reference.mean), rel=2e-2)


@pytest.mark.parametrize("kind", list(SMALL))
def test_each_rows_loss_is_its_own(kind: str) -> None:
    """Scored alone, a row has the loss it has among others; the mean is over rows, or over tokens."""
    learner, batch = _made(SMALL[kind], rows=4)
    for _ in range(3):
        learner.step(batch, 1e-2)
    with torch.no_grad():
        together = losses(learner.model, batch, learner.placement)
        for row in range(4):
            part = slice(row, row + 1)
            alone = replace(
                batch,
                inputs=batch.inputs[part],
                targets=batch.targets[part],
                keys_BT=None if batch.keys_BT is None else batch.keys_BT[part],
            )
            mean = losses(learner.model, alone, learner.placement).mean
            torch.testing.assert_close(mean, together.per_sample_B[row], rtol=1e-4, atol=1e-5)
    result = learner.step(batch, 1e-2)
    torch.testing.assert_close(result.per_sample_B, together.per_sample_B, rtol=1e-4, atol=1e-5)


def test_long_gradients_are_cut() -> None:
    recipe = fast(SMALL["image-classifier"], optimiser=Optimiser(clip_norm=1e-3))
    learner, batch = _made(recipe)
    result = learner.step(batch, 1e-2)
    norm = torch.stack([p.grad.norm() for p in learner.model.parameters() if p.grad is not None]).norm()
    assert float(result.gradient_norm) > 1e-3 and float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_overflow_in_float16_skips_the_step_and_halves_the_scale() -> None:
    learner, batch = _made(SMALL["text-classifier"], precision="fp16")
    learner.step(batch, 1e-3)
    scale = learner.scaler.get_scale()
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    learner.model.head.weight.register_hook(lambda grad: grad * float("inf"))
    result = learner.step(batch, 1e-3)
    assert result.skipped and learner.scaler.get_scale() == scale / 2
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.model.state_dict().items())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, while it traces
@pytest.mark.parametrize("kind", list(SMALL))
def test_compiled_blocks_are_the_same_model(kind: str) -> None:
    plain, batch = _made(SMALL[kind])
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(len(inputs))
        return graph

    compiled = Learner(
        build(SMALL[kind], len(CLASSES.get(kind, ())), torch.device("cpu")),
        SMALL[kind].optimiser,
        plain.placement,
        compile_with=backend,
    )
    for _ in range(3):
        ours, theirs = compiled.step(batch, 1e-2), plain.step(batch, 1e-2)
        torch.testing.assert_close(ours.per_sample_B, theirs.per_sample_B)
    assert graphs, "the blocks went through the compiler"
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())


def test_decay_is_for_matrices_alone() -> None:
    learner, _ = _made(fast(SMALL["text-classifier"], optimiser=Optimiser(weight_decay=0.5)))
    decayed, rest = learner.optimizer.param_groups
    assert decayed["weight_decay"] == 0.5 and rest["weight_decay"] == 0.0
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    kept = {id(parameter) for parameter in rest["params"]}
    assert id(learner.model.embedding.weight) in kept and id(learner.model.ngram_embedding.weight) in kept
    assert len(decayed["params"]) + len(rest["params"]) == len(list(learner.model.parameters()))

"""Counted arithmetic against PyTorch's own counter, and against the formula people quote."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipelines.training.classes import ClassTable
from pipelines.training.feed import TensorBatch, feed_for
from pipelines.training.flops import Flops, matmul_rate
from pipelines.training.model import build
from pipelines.training.precision import place
from pipelines.training.spans import spans
from pipelines.training.step import losses
from pipelines.training.transformer import CausalTransformer
from tests.pipelines.training.examples import SMALL, fast, table_for

CPU = torch.device("cpu")


def _language(rows: int, length: int, **extra: object) -> TensorBatch:
    ids = torch.zeros(rows, length, dtype=torch.int64)
    return TensorBatch(pa.nulls(rows), ids, ids, num_tokens=ids.numel(), num_positions=ids.numel(), **extra)  # type: ignore[arg-type]


def test_a_language_model_is_six_for_each_parameter_and_token_and_attention() -> None:
    model = CausalTransformer(vocabulary=100, width=16, depth=2, heads=2, feed_forward="gelu")
    weights = 2 * (4 * 16 * 16 + 8 * 16 * 16) + 100 * 16
    batch = _language(3, 10)
    assert Flops(model).of(batch) == 6 * weights * 30 + 12 * 16 * 2 * 3 * 55
    packed = _language(1, 30, spans=spans([[10, 10, 10]], 30, kernel="mask"))
    assert Flops(model).of(packed) == Flops(model).of(batch), "the same documents"


@pytest.mark.parametrize("kind", ["text-classifier", "image-classifier"])
def test_counts_agree_with_torchs_counter(kind: str) -> None:
    """Forward and backward of a step as PyTorch counts it; it leaves out the first layer's gradient by the input."""
    recipe = fast(SMALL[kind], **({"context": 32} if kind == "text-classifier" else {"width": 32}))
    classes = ClassTable(("science", "sport", "trade")) if kind == "text-classifier" else ClassTable((0, 1))
    model = build(recipe, len(classes), CPU)
    [rows] = table_for(recipe, 16).combine_chunks().to_batches()
    batch = feed_for(recipe, classes)(rows, None)
    with FlopCounterMode(display=False) as counter:
        losses(model, batch, place("cpu", "fp32")).mean.backward()
    assert Flops(model).of(batch) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_the_matmul_rate_is_measured_once() -> None:
    rate = matmul_rate(CPU, torch.float32)
    assert 1e8 < rate < 1e14 and matmul_rate(CPU, torch.float32) == rate

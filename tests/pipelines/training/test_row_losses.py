"""One loss a row, whatever its pieces and steps, and across what is written down in between."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.training.feed import TensorBatch
from pipelines.training.loss import IGNORE
from pipelines.training.packed_feed import PackedFeed
from pipelines.training.row_losses import RowLosses
from tests.pipelines.training.test_packed_feed import TEXTS, _all, _recipe, _rows


@pytest.mark.parametrize("long_texts", ["split", "cut"])
def test_row_losses_are_means_over_all_of_a_rows_targets(long_texts: str) -> None:
    """Each position is given a loss of its own; what comes out is what one pass over the whole row would say."""
    recipe = _recipe(long_texts=long_texts)
    draws, sums, counts = np.random.default_rng(0), np.zeros(len(TEXTS)), np.zeros(len(TEXTS))
    found: dict[bytes, float] = {}
    row_losses = RowLosses()
    for batch in _all(PackedFeed(recipe, "mask"), _rows(TEXTS)):
        assert batch.document_BT is not None and batch.rows is not None
        each = draws.random(batch.targets.shape).astype(np.float32)
        means = np.zeros(len(batch), dtype=np.float32)
        for piece, (row, _, targets) in enumerate(batch.rows.tolist()):
            mine = ((batch.document_BT == piece) & (batch.targets != IGNORE)).numpy()
            means[piece] = each[mine].astype(np.float64).mean()
            sums[row], counts[row] = sums[row] + each[mine].sum(dtype=np.float64), counts[row] + targets
        row_losses = RowLosses(json.loads(json.dumps(row_losses.state())))
        names, losses = row_losses.settle(batch, means)
        assert not set(names.to_pylist()) & set(found), "a row is told of once"
        found |= dict(zip(names.to_pylist(), losses.tolist(), strict=True))
    assert not len(row_losses) and len(found) == len(TEXTS)
    wanted = {number.to_bytes(16, "big"): sums[number] / counts[number] for number in range(len(TEXTS))}
    assert found == pytest.approx(wanted, rel=1e-6)


def test_without_packing_rows_are_complete_as_they_are() -> None:
    names = pa.array([b"a" * 16, b"b" * 16], pa.binary(16))
    batch = TensorBatch(names, torch.zeros(2, 3), torch.zeros(2))
    losses = np.array([1.0, np.nan], dtype=np.float32)
    found, same = RowLosses().settle(batch, losses)
    assert found is names and same is losses

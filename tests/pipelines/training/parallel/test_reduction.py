"""Means over ranks: exact in any cut, and in 8 bits true in the long run."""

from __future__ import annotations

import torch

from pipelines.training.parallel.reduction import chunk_size
from tests.pipelines.training.parallel.jobs import means
from tests.pipelines.training.parallel.processes import run


def test_chunks_are_whole_blocks() -> None:
    assert [chunk_size(size, 4) for size in (1, 4096, 4097, 10_000)] == [1024, 1024, 2048, 3072]


def test_means_of_vectors() -> None:
    """5,000 numbers on 3 ranks: no chunk is full. Sent: what a ring sends, and a quarter of it."""
    found = run(means, 3, 5000, 40)
    exact = sum(one["own"] for one in found) / 3
    for one in found:
        torch.testing.assert_close(one["mean"], exact.float(), rtol=1e-6, atol=1e-7)
        assert torch.equal(one["mean"], torch.cat([one["front"], one["back"]])), "wherever it is cut"
        assert torch.equal(one["int8"], found[0]["int8"]), "the same bits on every rank"
        error = (one["int8"] - exact).norm() / exact.norm()
        assert 1e-4 < error < 0.02
        assert (one["mean int8"] - exact).norm() / exact.norm() < error / 10, "over 40 calls errors are paid back"
        assert one["bytes"] == 2 * 2 * (5001 // 3) * 4
        assert one["bytes int8"] == 2 * 2 * (2048 + 2 * 4)

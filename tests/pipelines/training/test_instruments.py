"""Instruments on a CPU: a pace for what was metered, resident memory, nothing of an allocator, logs where asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.training.clock import Reading
from pipelines.training.feed import feed_for
from pipelines.training.flops import Flops
from pipelines.training.instruments import Instruments
from pipelines.training.model import build
from pipelines.training.precision import place
from tests.pipelines.training.examples import SMALL, texts


def _reading(step_s: float, idle_s: float) -> Reading:
    return Reading(np.zeros(16, np.float32), None, 1.0, 1.0, False, step_s, idle_s)


def test_a_pace_from_batches_and_readings(tmp_path: Path) -> None:
    recipe = SMALL["language-model"]
    [rows] = texts(16).combine_chunks().to_batches()
    batch, model = feed_for(recipe, None)(rows, 0), build(recipe, 0, torch.device("cpu"))
    instruments = Instruments(model, place("cpu", "fp32"), tmp_path / "logs")
    for _ in range(3):
        instruments.add(batch, _reading(9.0, 9.0), 16)
    instruments.warm()
    assert instruments.overall is None and instruments.allocator is None
    for _ in range(2):
        instruments.add(batch, _reading(0.5, 0.125), 16)
    pace = instruments.overall
    assert pace is not None and pace.tokens_per_s == pytest.approx(2 * batch.num_tokens)
    assert pace.waited == 0.25 and pace.samples_per_s == 32 and 0 < pace.padding < 1
    assert pace.mfu == pytest.approx(Flops(model).of(batch) / 0.5 / instruments.matmul_flops_per_s)
    assert instruments.recent.step_s > 5 and instruments.peak_memory_bytes > 2**20
    instruments.close()
    assert len(list((tmp_path / "logs").iterdir())) == 1

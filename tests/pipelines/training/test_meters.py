"""The meters: shares of what was spent, over recent steps and over all but the warm-up; the line a person reads."""

from __future__ import annotations

import pytest

from pipelines.training.meters import WARM_UP, Meters
from pipelines.training.report import StepRecord, progress_line


def _filled(steps: int) -> Meters:
    meters = Meters(matmul_rate=1e12)
    for _ in range(WARM_UP):
        meters.add(step_s=60.0, idle_s=60.0, flops=1.0, samples=1, tokens=1, positions=1)
    for _ in range(steps):
        meters.add(step_s=0.5, idle_s=0.05, flops=2e11, samples=8, tokens=900, positions=1000)
    return meters


def test_the_warm_up_is_not_in_the_whole() -> None:
    pace = _filled(4).overall()
    assert pace is not None and pace.step_s == pytest.approx(0.5)
    assert (pace.tokens_per_s, pace.samples_per_s) == pytest.approx((1800, 16))
    assert (pace.mfu, pace.waited, pace.padding) == pytest.approx((0.4, 0.1, 0.1))


def test_recent_steps_are_the_last_twenty() -> None:
    early, late = _filled(3).recent(), _filled(25).recent()
    assert early is not None and early.step_s > 20 and late is not None and late.step_s == pytest.approx(0.5)


def test_nothing_metered_is_nothing_said() -> None:
    assert Meters(1.0).recent() is None and Meters(1.0).overall() is None and _filled(0).overall() is None


def test_the_progress_line() -> None:
    pace = _filled(30).recent()
    assert pace is not None
    record = StepRecord(
        epoch=2,
        step=40,
        total_steps=480,
        loss=2.10341,
        learning_rate=1e-3,
        gradient_norm=1.0,
        num_samples=8,
        pace=pace.model_copy(update={"tokens_per_s": 471_234.0}),
        memory_bytes=16_213_000_000,
    )
    assert progress_line(record) == (
        "epoch 2 step 40/480: loss 2.1034, 471k tokens/s, 40% of the matmul rate, waited 10.0%, 15.1 GiB"
    )
    images = record.model_copy(update={"pace": pace.model_copy(update={"tokens_per_s": 0.0})})
    assert "16 rows/s" in progress_line(images)

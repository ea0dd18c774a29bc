"""Times of steps: a step's time runs from the end of the one before, and what passed until it began is idle."""

from __future__ import annotations

import torch

from pipelines.training.clock import Clock, Underway
from pipelines.training.step import StepResult


def test_steps_follow_one_another_on_one_line() -> None:
    clock = Clock(torch.device("cpu"))
    numbers = torch.tensor([1.5, 2.5, 1.0, 7.0, 8.0])
    first = clock.read(Underway(10.0, 10.5, numbers, None))
    second = clock.read(Underway(10.75, 11.5, numbers, torch.tensor([True, False])))
    assert (first.step_s, first.idle_s) == (0.5, 0.0)
    assert (second.step_s, second.idle_s) == (1.0, 0.25)
    assert (first.mean, first.gradient_norm, first.skipped, first.losses.tolist()) == (1.5, 2.5, True, [7.0, 8.0])
    assert first.correct is None and second.correct is not None and second.correct.tolist() == [True, False]


def test_a_result_arrives_whole() -> None:
    clock = Clock(torch.device("cpu"))
    result = StepResult(
        per_sample_B=torch.tensor([0.25, 0.5, float("nan")]),
        correct_B=None,
        mean=torch.tensor(0.375),
        gradient_norm=torch.tensor(3.0),
        skipped=torch.tensor(False),
    )
    seen = clock.read(clock.launched(clock.mark(), result))
    assert seen.losses.tolist()[:2] == [0.25, 0.5] and seen.mean == 0.375 and not seen.skipped
    assert seen.step_s >= 0 and seen.idle_s == 0.0

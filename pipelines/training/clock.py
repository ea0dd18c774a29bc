"""When steps began and ended on the device, and what they left there, read without making the device wait.

Knows devices and step results; nothing of rows, models or reports.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.training.step import StepResult

__all__ = ["Clock", "Reading", "Underway"]


@dataclass(frozen=True)
class Reading:
    """What a step saw, on this side."""

    losses: np.ndarray
    """float32: per row, or per piece"""
    correct: np.ndarray | None
    mean: float
    gradient_norm: float
    skipped: bool
    step_s: float
    """from the end of the step before to the end of this one; the first one of a process: its own length"""
    idle_s: float
    """of these, what passed on the device before this step began"""


@dataclass(frozen=True)
class Underway:
    """A step the device may still be at."""

    began: Any
    ended: Any
    numbers: Tensor
    correct: Tensor | None

    def wait(self) -> None:
        if isinstance(self.ended, torch.cuda.Event):
            self.ended.synchronize()


class Clock:
    """Marks steps: on CUDA by events on the device's own time line, elsewhere by the clock on the wall."""

    def __init__(self, device: torch.device):
        self._cuda = device.type == "cuda"
        self._last: Any = None

    def mark(self) -> Any:
        """The present moment, in the device's stream."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def launched(self, began: Any, result: StepResult) -> Underway:
        """After a step has been given to the device: its results are on their way here."""
        heads = torch.stack(
            [result.mean, result.gradient_norm.to(result.mean.dtype), result.skipped.to(result.mean.dtype)]
        )
        numbers = self._fetched(torch.cat([heads.float(), result.per_sample_B.float()]))
        correct = None if result.correct_B is None else self._fetched(result.correct_B)
        return Underway(began, self.mark(), numbers, correct)

    def read(self, step: Underway) -> Reading:
        """Waits for the step. Steps are read in their order."""
        step.wait()
        since = step.began if self._last is None else self._last
        step_s, idle_s = self._seconds(since, step.ended), self._seconds(since, step.began)
        self._last = step.ended
        numbers = step.numbers.numpy()
        mean, norm, skipped = numbers[:3].tolist()
        correct = None if step.correct is None else step.correct.numpy()
        return Reading(numbers[3:], correct, mean, norm, bool(skipped), step_s, idle_s)

    def _fetched(self, tensor: Tensor) -> Tensor:
        if not self._cuda:
            return tensor
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)

    def _seconds(self, first: Any, last: Any) -> float:
        return first.elapsed_time(last) / 1e3 if self._cuda else last - first

"""What a job measures of itself: pace, arithmetic, memory; and where that is written for TensorBoard.

Knows devices, batches and readings of steps; nothing of rows, checkpoints or feedback.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch

from pipelines.training.clock import Reading
from pipelines.training.events import EventFile
from pipelines.training.feed import TensorBatch
from pipelines.training.flops import Flops, matmul_rate
from pipelines.training.memory import AllocatorFigures, MemoryTracker
from pipelines.training.meters import WARM_UP, Meters, Pace
from pipelines.training.model import Model
from pipelines.training.precision import Placement
from pipelines.training.report import StepRecord

__all__ = ["Instruments"]

_LOGGED = ("tokens_per_s", "samples_per_s", "mfu", "waited", "padding")


class Instruments:
    """Of one process of a job. Making them measures the device's matmul rate: some 50 ms on a GPU."""

    def __init__(self, model: Model, placement: Placement, log_dir: str | os.PathLike[str] | None):
        self._device = placement.device
        self._meters = Meters(matmul_rate(placement.device, placement.dtype))
        self._flops, self._memory = Flops(model), MemoryTracker()
        self._events = None if log_dir is None else EventFile(Path(log_dir))
        self._steps = 0

    def warm(self) -> None:
        """To be called when the warm-up's steps are done and settled: what only they needed is given back to the GPU,
        and the allocator is watched from here."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            self._memory.begin()

    def add(self, batch: TensorBatch, seen: Reading, num_samples: int) -> None:
        """A step, in order."""
        self._steps += 1
        self._meters.add(
            step_s=seen.step_s,
            idle_s=seen.idle_s,
            flops=self._flops.of(batch),
            samples=num_samples,
            tokens=batch.num_tokens,
            positions=batch.num_positions,
        )

    def log(self, record: StepRecord) -> None:
        """Scalars for TensorBoard, where a folder was given."""
        if self._events is not None:
            values = record.model_dump(include={"loss", "learning_rate", "gradient_norm", "memory_bytes"})
            pace = {f"pace/{name}": getattr(record.pace, name) for name in _LOGGED}
            self._events.scalars(record.step, values | pace)

    def flush(self) -> None:
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    @property
    def matmul_flops_per_s(self) -> float:
        return self._meters.matmul_rate

    @property
    def recent(self) -> Pace:
        """Over the last steps; there must have been one."""
        pace = self._meters.recent()
        assert pace is not None, "a step has been metered"
        return pace

    @property
    def overall(self) -> Pace | None:
        return self._meters.overall()

    @property
    def allocator(self) -> AllocatorFigures | None:
        return self._memory.figures() if self._steps > WARM_UP else None

    @property
    def peak_memory_bytes(self) -> int:
        """Allocated on the GPU at most since the warm-up, or resident on the CPU at most."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

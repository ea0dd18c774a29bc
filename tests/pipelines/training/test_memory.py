"""The memory tracker over counters that are told to it; on a GPU the job's report holds the real ones."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.memory import MemoryTracker


class Counters:
    """An allocator's, as `torch.cuda.memory_stats` names them."""

    def __init__(self) -> None:
        self.values = {
            "allocation.all.allocated": 0,
            "num_device_alloc": 0,
            "allocated_bytes.all.allocated": 0,
            "reserved_bytes.all.allocated": 0,
            "allocated_bytes.all.peak": 0,
            "reserved_bytes.all.peak": 0,
        }
        self.resets = 0

    def ask(self, size: int, *, new: int = 0) -> None:
        """One allocation; `new` bytes of it from the driver."""
        self.values["allocation.all.allocated"] += 1
        self.values["allocated_bytes.all.allocated"] += size
        self.values["num_device_alloc"] += bool(new)
        self.values["reserved_bytes.all.allocated"] += new

    def reset(self) -> None:
        self.resets += 1


def test_figures_are_of_the_steady_state() -> None:
    counters = Counters()
    tracker = MemoryTracker(lambda: counters.values, reset_peaks=counters.reset)
    for _ in range(10):
        counters.ask(100, new=100)
    tracker.begin()
    for number in range(200):
        counters.ask(50, new=400 if number == 7 else 0)
    counters.values |= {"allocated_bytes.all.peak": 900, "reserved_bytes.all.peak": 1000}
    found = tracker.figures()
    assert found is not None and counters.resets == 1
    assert (found.num_allocations, found.num_device_allocations) == (200, 1)
    assert found.reuse_by_count == pytest.approx(0.995) and found.reuse_by_bytes == pytest.approx(1 - 400 / 10_000)
    assert found.waste == pytest.approx(0.1) and found.peak_reserved_bytes == 1000


def test_without_an_allocator_there_are_no_figures() -> None:
    assert MemoryTracker(dict).figures() is None
    if not torch.cuda.is_available():
        tracker = MemoryTracker()
        tracker.begin()
        assert tracker.figures() is None

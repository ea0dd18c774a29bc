"""How well the caching allocator of CUDA serves a job: how much of what is asked for comes from its cache, and how much
it holds for nothing.

Knows the allocator's counters, from PyTorch or from anywhere; nothing of models. On a CPU there is nothing to count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

__all__ = ["AllocatorFigures", "MemoryTracker", "Stats", "prepare_allocator"]

Stats = Callable[[], Mapping[str, Any]]
"""Counters named as those of `torch.cuda.memory_stats`; empty where there is no allocator."""


class AllocatorFigures(BaseModel):
    """Since the tracker's last `begin`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_allocations: int
    num_device_allocations: int
    """calls of the driver, cudaMalloc or a mapping of pages"""
    reuse_by_count: float
    """share of allocations that needed no call of the driver"""
    reuse_by_bytes: float
    """share of bytes asked for that were there already"""
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    waste: float
    """share of the reserved peak that was never allocated at once"""


class MemoryTracker:
    """Differences between two looks at the counters."""

    def __init__(self, stats: Stats | None = None, *, reset_peaks: Callable[[], Any] | None = None):
        """`stats` and `reset_peaks`: those of the present CUDA device when not given."""
        self._stats = stats or torch.cuda.memory_stats
        own = stats is None and torch.cuda.is_available()
        self._reset = reset_peaks or (torch.cuda.reset_peak_memory_stats if own else lambda: None)
        self._first = dict(self._stats())

    def begin(self) -> None:
        """Forgets what was counted: from here on it is the steady state."""
        self._reset()
        self._first = dict(self._stats())

    def figures(self) -> AllocatorFigures | None:
        """None where there is no allocator, or it has not been asked for anything."""
        now = self._stats()
        asked = self._grown(now, "allocation.all.allocated")
        if not asked:
            return None
        new = self._grown(now, "num_device_alloc")
        asked_bytes = self._grown(now, "allocated_bytes.all.allocated")
        new_bytes = self._grown(now, "reserved_bytes.all.allocated")
        allocated, reserved = int(now["allocated_bytes.all.peak"]), int(now["reserved_bytes.all.peak"])
        return AllocatorFigures(
            num_allocations=asked,
            num_device_allocations=new,
            reuse_by_count=1 - new / asked,
            reuse_by_bytes=1 - new_bytes / max(asked_bytes, 1),
            peak_allocated_bytes=allocated,
            peak_reserved_bytes=reserved,
            waste=1 - allocated / max(reserved, 1),
        )

    def _grown(self, now: Mapping[str, Any], name: str) -> int:
        return int(now.get(name, 0)) - int(self._first.get(name, 0))


def prepare_allocator() -> None:
    """Segments that grow instead of new ones beside them: less is held for nothing. Before the first allocation;
    where PYTORCH_ALLOC_CONF says something else, that stands."""
    if not torch.cuda.is_available() or {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(os.environ):
        return
    if not torch.cuda.memory_reserved():
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")

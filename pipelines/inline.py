"""The inline engine: the whole road in this process, unit after unit. For small data, tests, and as the oracle.

What fits into memory is read once for all steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.held import Held
from pipelines.job import Job
from pipelines.memory import peak_rss_bytes
from pipelines.phases import Step, part_bytes, run_set_step, run_unit_step

__all__ = ["InlineEngine"]


class InlineEngine:
    """Nothing to start, nothing to stop."""

    blocked_on: str | None = None

    def __init__(self, job: Job):
        self.job = replace(job, held=Held())
        self.bytes_in_flight = 0

    def __enter__(self) -> InlineEngine:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run_set(self, step: Step, outputs: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        return run_set_step(step, self.job, outputs), peak_rss_bytes()

    def run_units(
        self, step: Step, units: Sequence[int], outputs: Mapping[str, Any]
    ) -> Iterator[tuple[int, dict[str, Any], int]]:
        for unit in units:
            self.bytes_in_flight = part_bytes(step, self.job, unit)
            yield unit, run_unit_step(step, self.job, unit, outputs), peak_rss_bytes()
        self.bytes_in_flight = 0

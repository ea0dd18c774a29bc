"""What an engine is: it runs steps of a job somewhere and hands results back as they come.

Knows nothing of threads or clusters; `inline` and `cluster` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pipelines.phases import Step

__all__ = ["Engine"]


class Engine(AbstractContextManager["Engine"], Protocol):
    """Same steps, same files, on every engine; only where and how many at once differ."""

    def run_set(self, step: Step, outputs: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """A whole-set step's outputs and the peak RSS of the process that ran it."""
        ...

    def run_units(
        self, step: Step, units: Sequence[int], outputs: Mapping[str, Any]
    ) -> Iterator[tuple[int, dict[str, Any], int]]:
        """(unit, outputs, peak RSS in bytes) in the order units finish. Work in flight is bounded in bytes."""
        ...

    @property
    def bytes_in_flight(self) -> int: ...

    @property
    def blocked_on(self) -> str | None:
        """Why no further unit is started right now, in words; None when all are."""
        ...

"""Rows that stay in memory between the steps of one process, so that a small input is read once and not at every step.

Holds whole units, with all their columns, until a bound; what goes beyond it is read again. Knows rows and bytes, not
what steps want of them. Whether a unit was held changes how long a step takes, never what it gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from curator.readers.opening import same_file
from curator.stopping import hear
from pipelines.plan import Plan
from pipelines.rows import used_rows

__all__ = ["MAX_BYTES", "Held"]

MAX_BYTES: Final = 256 << 20
"""Of all units held, as Arrow has them in memory."""

_Part = tuple[np.ndarray, pa.RecordBatch]


class Held:
    """The units of one plan. For one thread at a time."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._room = max_bytes
        self._units: dict[int, list[_Part]] = {}

    def used_rows(self, plan: Plan, unit: int, *, columns: Sequence[str] | None = None) -> Iterator[_Part]:
        """As `pipelines.rows.used_rows`, from memory where the unit is held. It comes to be when it was read to its end
        and fits. Raises InputError for a held unit too, where the file is no longer the one that was planned."""
        if unit in self._units:
            same_file(plan.units[unit].source, plan.units[unit].content_digest)
            parts: Iterator[_Part] = iter(self._units[unit])
        elif plan.units[unit].bytes > self._room:
            yield from used_rows(plan, unit, columns=columns)
            return
        else:
            parts = self._read(plan, unit)
        wanted = plan.schema.names if columns is None else list(dict.fromkeys(columns))
        for numbers, batch in parts:
            hear()
            yield numbers, batch.select(wanted)

    def _read(self, plan: Plan, unit: int) -> Iterator[_Part]:
        """All columns, kept if they fit: a plan only estimates how many bytes they are."""
        parts: list[_Part] = []
        size = 0
        for numbers, batch in used_rows(plan, unit):
            size += batch.nbytes
            if size <= self._room:
                parts.append((numbers, batch))
            else:
                parts.clear()
            yield numbers, batch
        if size <= self._room:
            self._units[unit] = parts
            self._room -= size

"""Rows picked from record batches, held in a few slabs until they are asked for in some order.

Knows Arrow batches; nothing of shards or epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curator.shards.arrays import arrow_ints

__all__ = ["SLAB_BYTES", "Picked"]

SLAB_BYTES = 256 * 2**20
"""A slab's size; far below the 2 GiB that 32-bit offsets of a string column can span."""


class Picked:
    """m rows. parts: batches that hold them. order: int64[m], where each row lies in the parts laid end to end."""

    def __init__(self, parts: Sequence[pa.RecordBatch], order: np.ndarray, *, slab_bytes: int = SLAB_BYTES):
        self._slabs = _slabs(parts, slab_bytes)
        self._order = order
        self._ends = np.cumsum([slab.num_rows for slab in self._slabs])

    def take(self, index: np.ndarray) -> pa.RecordBatch:
        """Rows by their number among the m, in the order asked for. index: int64[k], k > 0."""
        place = self._order[index]
        slab = np.searchsorted(self._ends, place, side="right")
        if slab[0] == slab[-1] and (slab == slab[0]).all():
            first = int(self._ends[slab[0]]) - self._slabs[slab[0]].num_rows
            return _taken(self._slabs[slab[0]], place - first)
        by_slab = np.argsort(slab, kind="stable")
        parts = []
        for group in np.split(by_slab, np.flatnonzero(np.diff(slab[by_slab])) + 1):
            number = slab[group[0]]
            parts.append(
                _taken(self._slabs[number], place[group] - (self._ends[number] - self._slabs[number].num_rows))
            )
        back = np.empty(len(by_slab), dtype=np.int64)
        back[by_slab] = np.arange(len(by_slab))
        return pa.concat_batches(parts).take(arrow_ints(back))


def _taken(slab: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """The rows; a run of neighbours is a view."""
    if (np.diff(rows) == 1).all():
        return slab.slice(int(rows[0]), len(rows))
    return slab.take(arrow_ints(rows))


def _slabs(parts: Sequence[pa.RecordBatch], slab_bytes: int) -> list[pa.RecordBatch]:
    """Neighbouring parts joined until they reach `slab_bytes`."""
    slabs: list[pa.RecordBatch] = []
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    for part in parts:
        if held and held_bytes + part.nbytes > slab_bytes:
            slabs.append(pa.concat_batches(held))
            held, held_bytes = [], 0
        held.append(part)
        held_bytes += part.nbytes
    if held:
        slabs.append(held[0] if len(held) == 1 else pa.concat_batches(held))
    return slabs

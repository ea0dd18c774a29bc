"""A bounded sample of rows by sample id: the lowest ids, up to a number of rows and of bytes of content.

Sample ids are uniform hashes, so the rows with the lowest are a uniform sample, and which they are depends on the rows
alone: not on files, row groups, units or who reads them. Nothing here knows what the sample is for.

Scoring, which has the content in hand, sets aside the rows with ids so low that a sample will hardly want others, for
the sample to be loaded without reading the data again. A row that was not set aside is read from its unit: how much
is set aside is a matter of speed, never of the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from pipelines.job import Job
from pipelines.rows import content

__all__ = ["ASIDE_SCHEMA", "Lowest", "contents", "set_aside", "share_set_aside"]

ASIDE_ROWS: Final = 22_000
"""A tenth more than the largest sample, so that rows without content do not leave it short."""
ASIDE_BYTES: Final = 512 << 20
"""By the plan's estimate of the bytes of a row."""
MOST_SHARE: Final = 0.5
"""Above this share a copy saves too little: the units are read again."""

ASIDE_SCHEMA: Final = {
    modality: pa.schema([pa.field("row", pa.int64()), pa.field("content", kind)])
    for modality, kind in (("text", pa.large_string()), ("image", pa.large_binary()))
}
"""row: the row's number among the unit's used rows, ascending."""

_PLACE: Final = np.dtype([("high", "u8"), ("low", "u8"), ("unit", "i8"), ("row", "i8"), ("size", "i8")])


class Lowest:
    """The rows of lowest sample id among all that were added, in any order, within both bounds; at least one.

    They are those that come first by id until one more would pass a bound. Holds no more than a few times max_rows, or
    as many rows as have max_bytes of content, at 40 bytes a row.
    """

    def __init__(self, max_rows: int, max_bytes: int):
        self.max_rows, self.max_bytes = max_rows, max_bytes
        self._parts: list[np.ndarray] = []
        self._rows = self._bytes = 0
        self._bound: np.uint64 | None = None

    def add(self, unit: int, rows: np.ndarray, ids: np.ndarray, sizes: np.ndarray) -> None:
        """rows: int64[n] numbers among the unit's used rows; ids: uint8[n, 16]; sizes: int64[n] bytes of content."""
        words = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)
        low = slice(None) if self._bound is None else np.flatnonzero(words[:, 0] <= self._bound)
        part = np.empty(len(words[low]), _PLACE)
        part["high"], part["low"], part["unit"] = words[low, 0], words[low, 1], unit
        part["row"], part["size"] = rows[low], sizes[low]
        self._parts.append(part)
        self._rows, self._bytes = self._rows + len(part), self._bytes + int(part["size"].sum())
        if self._rows > 2 * self.max_rows or self._bytes > 2 * self.max_bytes:
            self._cut()

    def places(self) -> np.ndarray:
        """The chosen rows by ascending id: fields unit, row, size (int64), and high, low (uint64) of the id."""
        chosen = self._cut()
        return self._parts[0][:chosen]

    def _cut(self) -> int:
        """Forgets what cannot be chosen any more; how many rows would be chosen now. The first row beyond them is
        kept: lower ids may still come, and it is where the choice ends, whatever comes after it."""
        every = np.concatenate([np.empty(0, _PLACE), *self._parts])
        ordered = every[np.lexsort((every["low"], every["high"]))]
        fitting = int(np.searchsorted(np.cumsum(ordered["size"]), self.max_bytes, "right"))
        chosen = min(max(1, min(self.max_rows, fitting)), len(ordered))
        if chosen < len(ordered):
            self._bound = ordered["high"][chosen]
        self._parts, self._rows = [ordered[: chosen + 1].copy()], chosen
        self._bytes = int(ordered["size"][:chosen].sum())
        return chosen


def contents(job: Job, places: np.ndarray, scored: Mapping[int, Mapping[str, Any]]) -> pa.Array:
    """The contents of the rows chosen, in their order, as large_string or large_binary.

    scored: the outputs of score by unit; a unit's `aside` says whether it set rows aside.
    """
    kind = ASIDE_SCHEMA[job.recipe.modality].field("content").type
    parts, order = [pa.array([], kind)], [np.empty(0, np.int64)]
    for unit in np.unique(places["unit"]):
        here = np.flatnonzero(places["unit"] == unit)
        here = here[np.argsort(places["row"][here])]
        parts += _of_unit(job, int(unit), places["row"][here], bool(scored[int(unit)]["aside"]))
        order.append(here)
    return pa.concat_arrays(parts).take(pa.array(np.argsort(np.concatenate(order))))


def _of_unit(job: Job, unit: int, rows: np.ndarray, aside: bool) -> list[pa.Array]:
    """Contents of the unit's rows at `rows`, ascending, from what was set aside if all of them are there."""
    if aside:
        table = job.read_side(unit, "sample")
        at = np.searchsorted(table["row"].to_numpy(), rows)
        if (at < table.num_rows).all() and np.array_equal(table["row"].to_numpy()[at], rows):
            return [table["content"].combine_chunks().take(pa.array(at))]
    return list(_read(job, unit, rows))


def _read(job: Job, unit: int, rows: np.ndarray) -> Iterator[pa.Array]:
    first = 0
    for _, batch in job.used_rows(unit, columns=job.recipe.content_columns):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            yield _large(content(batch.take(pa.array(rows[low:high] - first)), job.recipe))
        first += batch.num_rows
        if high == len(rows):
            return
    raise IndexError(f"unit {unit} has {first} used rows; row {rows[-1]} was to be sampled")


def share_set_aside(job: Job, num_rows: int) -> float:
    """The share of rows, by sample id, that scoring sets aside. num_rows: rows used, of the whole set. 0: none.

    Nothing is set aside where no later step fits a model on content, or where most of it would be.
    """
    learned = job.recipe.needs_vectors and job.recipe.encoder_name == "builtin"
    if not learned and job.recipe.task == "classification":
        return 0.0
    row_bytes = sum(unit.bytes for unit in job.plan.units) / max(1, sum(unit.rows for unit in job.plan.units))
    share = min(ASIDE_ROWS / max(1, num_rows), ASIDE_BYTES / max(1.0, row_bytes * num_rows))
    return share if share < MOST_SHARE else 0.0


def set_aside(ids: np.ndarray, values: pa.Array, first: int, share: float, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of a batch that lie in the share, as ASIDE_SCHEMA. ids: uint8[n, 16]; first: number of its first row."""
    lead = np.ascontiguousarray(ids[:, :8]).view(">u8").reshape(-1)
    rows = np.flatnonzero(lead.astype(np.float64) < share * 2.0**64)
    return pa.record_batch([pa.array(first + rows), _large(values.take(pa.array(rows)))], schema=schema)


def _large(values: pa.Array) -> pa.Array:
    """With 64-bit offsets: a sample may pass 2 GiB."""
    text = pt.is_string(values.type) or pt.is_large_string(values.type)
    return values.cast(pa.large_string() if text else pa.large_binary())

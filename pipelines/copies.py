"""Which rows of a unit duplicate which: the file that resolve writes, one batch for each work unit.

A reader of one unit decompresses that unit's batch alone, however many duplicates the whole set has. Knows the file,
not how duplicates are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.job import Job

__all__ = ["COPIES", "Copies", "by_row", "read_copies", "write_copies"]

COPIES: Final = pa.schema(
    [("row", pa.int64()), ("operator", pa.int16()), ("duplicate_of", pa.binary(16)), ("similarity", pa.float32())]
)
"""row: its number within the unit, ascending. operator: place in `process`. duplicate_of: the keeper's sample id."""


class Copies(NamedTuple):
    """A unit's n rows: operator int16[n] (-1 none), duplicate_of binary(16)[n] and similarity float32[n] (NaN none)."""

    operator: np.ndarray
    duplicate_of: pa.Array
    similarity: np.ndarray


def write_copies(job: Job, batches: Sequence[pa.RecordBatch]) -> None:
    """batches: one of schema COPIES for each unit in order, empty ones too."""
    with job.writer(_name(job), COPIES) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_copies(job: Job, unit: int, num_rows: int) -> Copies:
    """The unit's own; none where the recipe looks for no duplicates. num_rows: the unit's."""
    if not job.recipe.set_operators:
        return Copies(np.full(num_rows, -1, np.int16), pa.nulls(num_rows, pa.binary(16)), _nothing(num_rows))
    with job.store.open_input(_name(job)) as source:
        return by_row(pa.ipc.open_file(source).get_batch(unit), num_rows)


def by_row(batch: pa.RecordBatch, num_rows: int) -> Copies:
    """A unit's batch spread over its rows."""
    rows = batch.column("row").to_numpy()
    operator, similarity = np.full(num_rows, -1, np.int16), _nothing(num_rows)
    operator[rows] = batch.column("operator").to_numpy()
    similarity[rows] = batch.column("similarity").to_numpy()
    at: np.ndarray = np.full(num_rows, -1, np.int64)
    at[rows] = np.arange(len(rows))
    return Copies(operator, batch.column("duplicate_of").take(pa.array(at, mask=at < 0)), similarity)


def _nothing(num_rows: int) -> np.ndarray:
    return np.full(num_rows, np.nan, np.float32)


def _name(job: Job) -> str:
    return job.name("resolve", "duplicates.arrow")

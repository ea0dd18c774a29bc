"""The rows of a unit that a recipe uses: read in order, filtered by `where`, with their sample ids.

Every step that opens the text reads through here (most by way of their job, which may hold rows), so that rows line up
with the side files. Knows no signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curator.readers import matches, read
from curator.recipe import Recipe
from curator.sample_id import from_ids, from_position
from curator.stopping import hear
from pipelines.plan import Plan

__all__ = ["blank_as_null", "content", "label_values", "sample_ids", "used_rows"]


def used_rows(
    plan: Plan, unit: int, *, columns: Sequence[str] | None = None
) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """(row numbers in the file int64[n], the n rows used) batch by batch; columns None reads them all, and one named
    twice comes once. Raises StoppedError where somebody listens for it."""
    where = plan.recipe.where
    wanted = None if columns is None else list(dict.fromkeys(columns))
    needed = None if wanted is None else list(dict.fromkeys([*wanted, *where]))
    for first, batch in read(plan.units[unit], columns=needed, schema=plan.schema):
        hear()
        numbers = np.arange(first, first + batch.num_rows, dtype=np.int64)
        if where:
            mask = matches(batch, where)
            numbers = numbers[np.asarray(mask)]
            batch = batch.filter(pa.array(mask))
        if batch.num_rows:
            yield numbers, batch if wanted is None else batch.select(wanted)


def sample_ids(plan: Plan, unit: int, numbers: np.ndarray, batch: pa.RecordBatch) -> pa.Array:
    """binary(16)[n]: from the user's id column, or from the file's content and the row number."""
    column = plan.recipe.columns.id
    if column is not None:
        return from_ids(batch.column(column))
    return from_position(plan.units[unit].content_digest, numbers)


def content(batch: pa.RecordBatch, recipe: Recipe) -> pa.Array:
    """What is judged: the text or image column; instruction data joined by blank lines, null if a needed part is."""
    parts = [batch.column(name) for name in recipe.content_columns]
    if len(parts) == 1:
        return parts[0]
    optional = recipe.columns.input
    filled = [
        pc.fill_null(part, "") if name == optional else part
        for name, part in zip(recipe.content_columns, parts, strict=True)
    ]
    return pc.binary_join_element_wise(*filled, "\n\n")


def label_values(batch: pa.RecordBatch, recipe: Recipe) -> pa.Array:
    """The given labels; one that is empty or white space is null, as an empty cell of a CSV file is."""
    return blank_as_null(batch.column(str(recipe.columns.label)))


def blank_as_null(values: pa.Array) -> pa.Array:
    """Texts with null in place of those that are empty or only white space; other types as they are."""
    if not (pt.is_string(values.type) or pt.is_large_string(values.type)):
        return values
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0)
    return pc.if_else(blank, pa.scalar(None, values.type), values)

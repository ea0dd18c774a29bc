"""The class table: which label is class 0, 1, 2 …, fixed once, kept with the weights.

Knows Arrow labels; nothing of models or files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import InputError

__all__ = ["ClassTable", "Label"]

Label = str | int | bool


@dataclass(frozen=True)
class ClassTable:
    """Labels in class order: numbers by value, text by its characters, so the table does not depend on row order."""

    labels: tuple[Label, ...]

    @classmethod
    def of(cls, values: Iterable[pa.Array | pa.ChunkedArray], *, column: str) -> ClassTable:
        """The distinct labels of a column given in pieces. Raises InputError for nulls, no labels, or one class."""
        seen: set[Label] = set()
        for piece in values:
            distinct = pc.unique(_plain(piece, column))
            if distinct.null_count:
                raise InputError(
                    "a label is null, so its row belongs to no class; filter such rows out or label them", column=column
                )
            seen.update(distinct.to_pylist())
        if len(seen) < 2:
            shown = f"only {next(iter(seen))!r}" if seen else "none"
            raise InputError(
                f"a classifier needs at least two classes and the rows hold {shown}; nothing can be told apart. "
                "Check columns.label and what the run kept.",
                column=column,
            )
        return cls(tuple(sorted(seen)))

    def __len__(self) -> int:
        return len(self.labels)

    def codes(
        self, labels: pa.Array | pa.ChunkedArray, sample_ids: pa.Array | None = None, *, column: str
    ) -> np.ndarray:
        """int64[n] class numbers. Raises InputError naming the first row whose label is null or not in the table."""
        values = _plain(labels, column)
        table = pa.array(self.labels)
        if values.type != table.type:
            raise InputError(
                f"labels are {values.type} and the class table was made of {table.type}; give the same type",
                column=column,
            )
        found = pc.index_in(values, value_set=table)
        if found.null_count:
            row = int(np.flatnonzero(np.asarray(found.is_null()))[0])
            name = f" (sample {sample_ids[row].as_py().hex()})" if sample_ids is not None else ""
            raise InputError(
                f"label {values[row].as_py()!r}{name} is not one of the {len(self)} classes the model was made for "
                f"({_shown(self.labels)}); it cannot be learned or scored. Correct the row, or train a new model "
                "in another checkpoint folder.",
                row=row,
                column=column,
            )
        return np.asarray(found).astype(np.int64)


def _plain(values: pa.Array | pa.ChunkedArray, column: str) -> pa.Array:
    """One array of string, int64 or bool."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = pc.cast(array, pa.string())
    if pa.types.is_integer(array.type):
        array = pc.cast(array, pa.int64())
    kind = array.type
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise InputError(
            f"labels are {kind}; classes are text, whole numbers or booleans. Cast the column.", column=column
        )
    return array


def _shown(labels: tuple[Label, ...]) -> str:
    head = ", ".join(repr(label) for label in labels[:10])
    return head if len(labels) <= 10 else f"{head}, …"

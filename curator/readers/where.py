"""The row filter of a recipe: which rows of a batch are used at all.

Knows nothing of files; a pure function of a batch and a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import RecipeError
from curator.readers.columns import missing_column

__all__ = ["matches"]


def matches(batch: pa.RecordBatch, where: Mapping[str, Any]) -> pa.BooleanArray:
    """bool[n], no nulls: true where every named column holds the value asked for, or one of a list of values.

    A null cell matches only if None is asked for; NaN matches nothing. An empty mapping matches every row. Raises
    InputError for a column that is not there, RecipeError for a value that cannot be of the column's type.
    """
    mask = pa.array(np.ones(batch.num_rows, bool))
    for name, wanted in where.items():
        if name not in batch.schema.names:
            raise missing_column(name, batch.schema.names, "the input (where)")
        values = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        hit = _among(batch.column(name), name, values)
        mask = pc.and_(mask, hit)
    return mask


def _among(column: pa.Array, name: str, values: list[Any]) -> pa.BooleanArray:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    present = [value for value in values if value is not None]
    if any(isinstance(value, bool) for value in present) and not pa.types.is_boolean(column.type):
        raise RecipeError(f"where: {name} is {column.type}, but {present!r} asks for a truth value")
    try:
        wanted = pa.array(present, type=column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, OverflowError) as error:
        raise RecipeError(
            f"where: {name} is {column.type}, and {present!r} is not; no row could match. Write values of that type"
        ) from error
    hit = pc.is_in(column, value_set=wanted)
    return pc.or_(hit, pc.is_null(column)) if None in values else hit

"""The row filter of a recipe: which rows of a batch are used at all.

Knows nothing of files; a pure function of a batch and a mapping.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curator.errors import RecipeError
from curator.readers.columns import missing_column

__all__ = ["matches"]


def matches(batch: pa.RecordBatch, where: Mapping[str, Any]) -> pa.BooleanArray:
    """bool[n], no nulls: true where every named column holds the value asked for, or one of a list of values.

    A null cell matches only if None is asked for; NaN matches nothing. Dates and timestamps are asked for as ISO 8601
    text; without an offset a time is UTC where the column has a zone, and a date alone is its midnight. An empty
    mapping matches every row. Raises InputError for a column that is not there, RecipeError for a value that cannot be
    of the column's type.
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
    if pt.is_date(column.type) or pt.is_timestamp(column.type):
        present = [_moment(value, column.type, name) for value in present]
    try:
        wanted = pa.array(present, type=column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, OverflowError) as error:
        raise RecipeError(
            f"where: {name} is {column.type}, and {_told(present)} is not; no row could match. "
            "Write values of that type"
        ) from error
    hit = pc.is_in(column, value_set=wanted)
    return pc.or_(hit, pc.is_null(column)) if None in values else hit


def _moment(value: Any, kind: pa.DataType, name: str) -> datetime.date:
    """The date or timestamp that a text names, or a YAML date. Raises RecipeError for one the column could not hold."""
    value = value.isoformat() if isinstance(value, datetime.date) else value
    try:
        moment = _date(value) if pt.is_date(kind) else _timestamp(value, kind.tz)
        if pa.scalar(moment, kind).as_py() == moment:
            return moment
    except (TypeError, ValueError, OverflowError):
        pass
    example = "a date, as 2024-01-31" if pt.is_date(kind) else "a time, as 2024-01-31T09:30:00"
    zone = ", with an offset or in UTC" if pt.is_timestamp(kind) and kind.tz else ""
    raise RecipeError(
        f"where: {name} is {kind}, and {_told([value])} is not; no row could match. Write {example}{zone}"
    )


def _date(value: Any) -> datetime.date:
    return datetime.date.fromisoformat(value)


def _timestamp(value: Any, zone: str | None) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(value)
    if moment.tzinfo is not None and zone is None:
        raise ValueError("an offset, where the column's times have none")
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None and zone else moment


def _told(values: list[Any]) -> str:
    """Values and their types, as the recipe gave them."""
    return ", ".join(f"{value!r} ({type(value).__name__})" for value in values)

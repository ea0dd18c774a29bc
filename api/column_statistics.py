"""What a dataset's columns hold, summed up batch by batch: nulls, ranges, means, lengths, the commonest values.

Knows Arrow types; nothing of files. One pass, memory bounded by the number of columns.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Columns", "MOST_VALUES"]

MOST_VALUES: Final = 1_000
"""Distinct values counted of a column; with more it is said to have more."""
_TOLD_VALUES: Final = 20
_SHOWN_CHARS: Final = 100


class Columns:
    """Statistics of all columns of a schema."""

    def __init__(self, schema: pa.Schema):
        self.rows = 0
        self._columns = [_Column(field) for field in schema]

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes in one batch of the schema."""
        self.rows += batch.num_rows
        for column, values in zip(self._columns, batch.columns, strict=True):
            column.add(values)

    def told(self) -> list[dict[str, Any]]:
        """One plain object a column, in order: name, type, nulls, then what its type has."""
        return [column.told() for column in self._columns]


class _Column:
    def __init__(self, field: pa.Field):
        self.name, self.type, self.nulls, self.count = field.name, field.type, 0, 0
        self.low: float | None = None
        self.high: float | None = None
        self.total, self.measured = 0.0, 0
        self.values: Counter[Any] | None = Counter() if _countable(field.type) else None

    def add(self, values: pa.Array) -> None:
        self.nulls += values.null_count
        self.count += len(values)
        numbers = _measure(values)
        if numbers is not None:
            self._range(numbers)
        if self.values is not None:
            for entry in pc.value_counts(values.drop_null()):
                self.values[_counted(entry["values"].as_py())] += entry["counts"].as_py()
            if len(self.values) > MOST_VALUES:
                self.values = None

    def _range(self, numbers: pa.Array) -> None:
        """Takes in finite numbers: values, or lengths of texts and lists."""
        if pa.types.is_floating(numbers.type):
            numbers = numbers.filter(pc.is_finite(numbers))
        numbers = numbers.drop_null().cast(pa.float64(), safe=False)
        if not len(numbers):
            return
        ends = pc.min_max(numbers)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        self.total += pc.sum(numbers).as_py()
        self.measured += len(numbers)

    def told(self) -> dict[str, Any]:
        mean = self.total / self.measured if self.measured and math.isfinite(self.total) else None
        sized = not (_is_number(self.type) or pa.types.is_boolean(self.type))
        told: dict[str, Any] = {"name": self.name, "type": str(self.type), "nulls": self.nulls}
        told["distinct"] = None if self.values is None else len(self.values)
        commonest = [] if self.values is None else self.values.most_common(_TOLD_VALUES)
        told["values"] = [[value[0] if isinstance(value, tuple) else value, count] for value, count in commonest]
        told |= {"of": "length" if sized else "value", "min": self.low, "max": self.high, "mean": mean}
        return told


def _counted(value: Any) -> Any:
    """What stands for a value while it is counted: of a long text, the characters shown and a digest of the whole."""
    if isinstance(value, str) and len(value) > _SHOWN_CHARS:
        return value[:_SHOWN_CHARS], hashlib.blake2b(value.encode(), digest_size=16).digest()
    return value


def _measure(values: pa.Array) -> pa.Array | None:
    """The numbers a range is told of: the values themselves, bytes or characters of a text, items of a list."""
    kind = values.type
    if _is_number(kind):
        return values
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.utf8_length(values)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pc.binary_length(values)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pc.list_value_length(values)
    return None


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _countable(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
    )

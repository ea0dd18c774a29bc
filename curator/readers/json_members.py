"""The `.json` members of WebDataset samples: the keys of each member's object become columns.

Scalars keep their type, objects and lists become JSON text. Types are decided over all members of a file, as in JSONL:
null gives way to anything, integers and fractions become double, nothing else meets. Knows nothing of tar archives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from curator.errors import InputError
from curator.readers.columns import widest
from curator.readers.unit import Source

__all__ = ["JsonColumns", "as_column", "json_object"]

EXACT_DOUBLE: Final = 2**53
_NESTED: Final = pa.struct([])


def json_object(data: bytes, member: str, source: Source, row: int) -> dict[str, Any]:
    """The member's object, its nested values as JSON text. Raises InputError naming file, row and member."""

    def refused(what: str) -> InputError:
        return InputError(f"member {member!r} {what}", file=source.uri, row=row, column="json")

    try:
        value = json.loads(data, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise refused(f"is not valid UTF-8: {error}; repair or remove the sample") from error
    except (ValueError, RecursionError) as error:
        raise refused(f"is not valid JSON: {error}; repair or remove the sample") from error
    if not isinstance(value, dict):
        raise refused(
            f"holds {_NAMES[type(value)]}, but the keys of an object become columns; wrap it in an object, or give it "
            "another extension to keep its bytes"
        )
    for key, part in value.items():
        if isinstance(part, dict | list):
            value[key] = part = _Nested(json.dumps(part, ensure_ascii=False))
        if not (_encodes(key) and (not isinstance(part, str) or _encodes(part))):
            raise refused(f"holds half of a surrogate pair at {key!r}, which is no text; repair or remove the sample")
    return value


class JsonColumns:
    """Learns the columns of one file from its objects, in the order keys are first met."""

    def __init__(self, source: Source):
        self._source = source
        self._kinds: dict[str, pa.DataType] = {}
        self._large: dict[str, int] = {}  # column -> first row with an integer that no double holds exactly

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, values: dict[str, Any], row: int) -> None:
        """Raises InputError for a value whose type does not go with the rows before."""
        for name, value in values.items():
            here = self._kind(value, name, row)
            before = self._kinds.get(name, pa.null())
            merged = widest(before, here)
            if merged is None:
                raise InputError(
                    f"its values were {_told(before)} up to here and this one is {_told(here)}; one column has one "
                    "type: mend the .json member, or quote the value in every sample",
                    file=self._source.uri,
                    row=row,
                    column=name,
                )
            self._kinds[name] = merged
            if type(value) is int and abs(value) > EXACT_DOUBLE:
                self._large.setdefault(name, row)

    def fields(self, members: Sequence[str]) -> list[tuple[str, pa.DataType]]:
        """Name and type of each column. Raises InputError where a key is also named like a member or the sample key."""
        for name, kind in self._kinds.items():
            if name in members:
                raise InputError(
                    f"a key of .json members, and a column of its own (.{name} members); rename the key",
                    file=self._source.uri,
                    column=name,
                )
            if pa.types.is_floating(kind) and name in self._large:
                raise InputError(
                    "an integer too large to be kept exactly beside fractions; write it as a string",
                    file=self._source.uri,
                    row=self._large[name],
                    column=name,
                )
        return [(name, pa.string() if kind.equals(_NESTED) else kind) for name, kind in self._kinds.items()]

    def _kind(self, value: Any, name: str, row: int) -> pa.DataType:
        if type(value) is int and not -(2**63) <= value < 2**63:
            told = f"the integer {value} does not fit 64 bits; write it as a string"
            raise InputError(told, file=self._source.uri, row=row, column=name)
        return _KINDS[type(value)]


def as_column(values: Sequence[Any], field: pa.Field, source: Source, first_row: int) -> pa.Array:
    """The values of one column under the type of the whole input. Raises InputError naming the row."""
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError):
        for row, value in enumerate(values):
            try:
                pa.array([value], field.type)
            except (pa.ArrowException, OverflowError) as error:
                told = f"a value that does not fit the type {field.type} of the whole input: {error}"
                raise InputError(told, file=source.uri, row=first_row + row, column=field.name) from error
        raise


class _Nested(str):
    """JSON text of an object or a list."""


_KINDS: Final = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    _Nested: _NESTED,
}
_NAMES: Final = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a truth value"} | {
    type(None): "null"
}


def _told(kind: pa.DataType) -> str:
    return "an object or a list" if kind.equals(_NESTED) else str(kind)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _encodes(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)

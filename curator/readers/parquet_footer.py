"""The schema part of a Parquet footer, walked byte by byte before the Arrow library recurses into it.

Knows Thrift's compact protocol as far as the schema list goes and nothing of row groups. Source: the Apache Thrift
compact protocol specification and parquet-format's `FileMetaData` and `SchemaElement`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FooterError", "schema_shape"]

I32: Final = 5
BINARY: Final = 8
LIST: Final = 9
STRUCT: Final = 12
SCHEMA_FIELD: Final = 2
NUM_CHILDREN_FIELD: Final = 5
MAX_SKIP_DEPTH: Final = 8
"""Structs within a schema element: a logical type holds a time unit, no more."""


class FooterError(ValueError):
    """The bytes are not a Parquet footer, or its schema is larger than allowed."""


def schema_shape(footer: bytes, max_elements: int, max_depth: int) -> tuple[int, int]:
    """(number of schema elements, depth of the tree they make). Raises FooterError past either cap, or on nonsense."""
    walk = _Walk(footer)
    field = 0
    while True:
        kind, field = walk.field(field)
        if kind == 0:
            raise FooterError("it has no schema")
        if field == SCHEMA_FIELD and kind == LIST:
            return _shape(walk, max_elements, max_depth)
        walk.skip(kind, 0)


def _shape(walk: _Walk, max_elements: int, max_depth: int) -> tuple[int, int]:
    size, kind = walk.list_header()
    if kind != STRUCT or not 0 < size <= max_elements:
        raise FooterError(f"its schema has {size} elements, the cap is {max_elements}")
    open_groups: list[int] = []  # children still to come of each group that is open, root first
    deepest = 0
    for _ in range(size):
        while open_groups and open_groups[-1] == 0:
            open_groups.pop()
        if open_groups:
            open_groups[-1] -= 1
        open_groups.append(walk.num_children())
        deepest = max(deepest, len(open_groups))
        if deepest > max_depth:
            raise FooterError(f"its schema is nested deeper than {max_depth} levels")
    return size, deepest


class _Walk:
    """A cursor over compact-protocol bytes."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise FooterError("it ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise FooterError("a number in it never ends")

    def field(self, last: int) -> tuple[int, int]:
        """(type, id) of the next field of a struct; type 0 at its end."""
        head = self.byte()
        kind, delta = head & 0x0F, head >> 4
        if kind == 0:
            return 0, last
        return kind, last + delta if delta else _unzigzag(self.varint())

    def list_header(self) -> tuple[int, int]:
        head = self.byte()
        size = head >> 4
        return (self.varint() if size == 15 else size), head & 0x0F

    def num_children(self) -> int:
        """Walks one SchemaElement and returns its number of children, 0 for a leaf."""
        children = field = 0
        while True:
            kind, field = self.field(field)
            if kind == 0:
                return children
            if field == NUM_CHILDREN_FIELD and kind == I32:
                children = _unzigzag(self.varint())
                if children < 0:
                    raise FooterError("a schema group has a negative number of children")
            else:
                self.skip(kind, 0)

    def skip(self, kind: int, depth: int) -> None:
        """Steps over one value."""
        if depth > MAX_SKIP_DEPTH:
            raise FooterError("a value in it is nested beyond the format")
        if kind in (1, 2):
            return
        if kind == 3:
            self.byte()
        elif kind in (4, I32, 6):
            self.varint()
        elif kind == 7:
            self._forward(8)
        elif kind == BINARY:
            self._forward(self.varint())
        elif kind == STRUCT:
            field = 0
            while (inner := self.field(field))[0]:
                field = inner[1]
                self.skip(inner[0], depth + 1)
        else:
            raise FooterError(f"a value of type {kind} stands where none may")

    def _forward(self, num_bytes: int) -> None:
        self.at += num_bytes
        if self.at > len(self.data):
            raise FooterError("it ends too early")


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)

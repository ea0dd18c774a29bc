"""The sizes that Arrow IPC messages claim, read from their headers before anything is decompressed.

Knows as much of FlatBuffers as four tables need, and nothing of columns. Source: apache/arrow format/Message.fbs and
File.fbs; the FlatBuffers internals document for tables and vectors.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

__all__ = ["Block", "Claim", "claim_of", "record_blocks"]

DICTIONARY_BATCH: Final = 2
RECORD_BATCH: Final = 3


class Block(NamedTuple):
    """Where a message stands in an IPC file."""

    offset: int
    is_dictionary: bool


class Claim(NamedTuple):
    """What a record or dictionary batch says of itself: rows, and bytes once decompressed."""

    rows: int
    plain_bytes: int


def record_blocks(footer: bytes) -> list[Block]:
    """The dictionary and record batches that a file's footer lists. Raises ValueError on nonsense."""
    try:
        root = _root(footer)
        return [
            Block(struct.unpack_from("<q", footer, start)[0], is_dictionary)
            for field, is_dictionary in ((2, True), (3, False))
            for start in root.structs(field, 24)
        ]
    except struct.error as error:
        raise ValueError(f"its footer points outside itself: {error}") from error


def claim_of(metadata: Any, body: Any) -> Claim | None:
    """Rows and decompressed bytes of a message; None for one that is no batch. Raises ValueError on nonsense.

    metadata, body: of a `pyarrow.ipc.Message`, as buffers.
    """
    data = memoryview(metadata).tobytes()
    content = memoryview(body) if body is not None else memoryview(b"")
    try:
        message = _root(data)
        kind = message.scalar(1, "<B")
        if kind not in (DICTIONARY_BATCH, RECORD_BATCH):
            return None
        batch = message.table(2)
        if kind == DICTIONARY_BATCH:
            batch = batch.table(1)
        rows = batch.scalar(0, "<q")
        compressed = batch.has(3)
        plain = 0
        for start in batch.structs(2, 16):
            offset, length = struct.unpack_from("<qq", data, start)
            if length < 0 or offset < 0 or offset + length > len(content):
                raise ValueError(f"a buffer at {offset} of {length} bytes lies outside its body of {len(content)}")
            claimed = struct.unpack_from("<q", content, offset)[0] if compressed and length else -1
            plain += length if claimed == -1 else claimed
            if claimed < -1:
                raise ValueError(f"a buffer claims {claimed} decompressed bytes")
    except struct.error as error:
        raise ValueError(f"its header points outside itself: {error}") from error
    if rows < 0:
        raise ValueError(f"it claims {rows} rows")
    return Claim(rows, plain)


class _Table(NamedTuple):
    """A FlatBuffers table: the bytes and where it begins."""

    data: bytes
    at: int

    def slot(self, field: int) -> int:
        """Where a field's value stands; 0 if it is left out."""
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if vtable < 0:
            raise struct.error("a table's layout lies before the start")
        if 4 + 2 * field >= struct.unpack_from("<H", self.data, vtable)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self.data, vtable + 4 + 2 * field)[0])
        return self.at + offset if offset else 0

    def has(self, field: int) -> bool:
        return self.slot(field) != 0

    def scalar(self, field: int, form: str) -> int:
        """A number; 0 if it is left out."""
        slot = self.slot(field)
        return int(struct.unpack_from(form, self.data, slot)[0]) if slot else 0

    def table(self, field: int) -> _Table:
        slot = self.slot(field)
        if not slot:
            raise struct.error(f"field {field} is left out")
        return _Table(self.data, slot + struct.unpack_from("<I", self.data, slot)[0])

    def structs(self, field: int, width: int) -> range:
        """Where each struct of a vector begins."""
        slot = self.slot(field)
        if not slot:
            return range(0)
        start = slot + struct.unpack_from("<I", self.data, slot)[0]
        count = struct.unpack_from("<I", self.data, start)[0]
        if start + 4 + count * width > len(self.data):
            raise struct.error(f"a vector of {count} structs is longer than the rest")
        return range(start + 4, start + 4 + count * width, width)


def _root(data: bytes) -> _Table:
    return _Table(data, struct.unpack_from("<I", data, 0)[0])

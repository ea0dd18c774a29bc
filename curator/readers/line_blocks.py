"""Blocks of whole lines: how a JSONL file is cut up, and what a block must be before a parser may see it.

Knows nothing of JSON beyond its strings and brackets, and nothing of types. A row is a line that is not blank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from curator.errors import InputError
from curator.readers.limits import Limits
from curator.readers.opening import CHUNK_BYTES, open_file, open_text
from curator.readers.unit import Source

__all__ = ["Block", "LineBlocks", "check_block", "filled_lines", "row_ends"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
NEWLINE: Final = 10
GUESSING_BUDGET: Final = 1 << 28
OPENING: Final = 0x7B
"""`{`, and `[` once bit 5 is set."""


class Block(NamedTuple):
    """Whole lines: their bytes, the offset of the first in the (unpacked) file, the row number of the first row."""

    data: bytes
    offset: int
    first_row: int


class LineBlocks:
    """The blocks of a file from byte `start` to byte `stop` (None: its end), a few MiB each.

    Whoever parses a block adds the rows found to `row` before asking for the next. Raises InputError on a line longer
    than the cap.
    """

    def __init__(self, source: Source, start: int, stop: int | None, first_row: int, limits: Limits):
        self._source, self._start, self._stop, self._limits = source, start, stop, limits
        self.row = first_row

    def __iter__(self) -> Iterator[Block]:
        """Large blocks, for a parser that is told the columns."""
        offset = self._start
        carry: list[bytes] = []
        for chunk in self._chunks():
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                carry.append(chunk)
                self._line_within(sum(map(len, carry)))
                continue
            data = b"".join([*carry, chunk[:cut]])
            yield self._block(data, offset)
            offset += len(data)
            carry = [chunk[cut:]] if cut < len(chunk) else []
        if carry:
            yield self._block(b"".join(carry), offset)

    def narrow(self) -> Iterator[Block]:
        """Blocks cut finer, for a parser that makes a column of every key it meets.

        Bytes times lines stay under GUESSING_BUDGET: at six bytes a key at least, keys times rows, and with them the
        parser's memory, stay bounded whatever the file holds.
        """
        for block in self:
            ends = _line_ends(block.data)
            line = start = 0
            while line < len(ends):
                fits = (ends[line:] - start) * np.arange(1, len(ends) - line + 1) <= GUESSING_BUDGET
                line += max(1, int(np.searchsorted(~fits, True)))
                stop = int(ends[line - 1])
                yield Block(block.data[start:stop], block.offset + start, self.row)
                start = stop

    def _block(self, data: bytes, offset: int) -> Block:
        if offset == 0 and data.startswith(BYTE_ORDER_MARK):
            data = b"   " + data[3:]  # blanks keep every offset true
        return Block(data, offset, self.row)

    def _chunks(self) -> Iterator[bytes]:
        if self._source.compression != "none":
            with open_text(self._source, self._limits) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
            return
        with open_file(self._source.uri) as handle:
            handle.seek(self._start)
            left = (handle.size() if self._stop is None else self._stop) - self._start
            while left > 0 and (chunk := handle.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def _line_within(self, length: int) -> None:
        if length > self._limits.line_bytes:
            raise InputError(
                f"a line of more than {self._limits.line_bytes} bytes. JSONL has one object a line: if this is one "
                "JSON document, write its items as lines; else shorten or remove the row",
                file=self._source.uri,
                row=self.row,
            )


def filled_lines(data: bytes) -> list[bytes]:
    """The lines that are rows."""
    return [line for line in data.split(b"\n") if line.strip()]


def row_ends(block: Block, num_rows: int, source: Source) -> np.ndarray:
    """int64[num_rows]: for each row, the offset in the block just past its line end.

    Raises InputError if `num_rows` objects do not stand on as many lines.
    """
    data = block.data
    ends = _line_ends(data)
    if len(ends) != num_rows:
        starts = np.concatenate([[0], ends[:-1]])
        filled = [bool(data[start:end].strip()) for start, end in zip(starts, ends, strict=True)]
        ends = ends[np.array(filled)]
    if len(ends) != num_rows:
        raise InputError(
            f"{num_rows} objects on the {len(ends)} lines from here: JSONL has one object a line; write it again",
            file=source.uri,
            row=block.first_row,
        )
    return ends


def _line_ends(data: bytes) -> np.ndarray:
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE) + 1
    return ends if data.endswith(b"\n") else np.append(ends, len(data))


def check_block(block: Block, source: Source, limits: Limits) -> None:
    """Raises InputError, naming the row, for bytes that are not UTF-8 and for nesting past the cap."""
    _valid_text(block, source)
    _depth_within(block, source, limits)


def _valid_text(block: Block, source: Source) -> None:
    offsets = pa.py_buffer(np.array([0, len(block.data)], np.int64))
    whole = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(block.data)])
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid as error:
        row = block.first_row
        try:
            block.data.decode()
        except UnicodeDecodeError as place:
            row += len(filled_lines(block.data[: place.start] + b"x")) - 1
        raise InputError(
            "text that is not valid UTF-8; repair or remove the line, or convert the file", file=source.uri, row=row
        ) from error


def _depth_within(block: Block, source: Source, limits: Limits) -> None:
    """Refuses nesting past the cap before a parser recurses into it; strings are cut out where brackets abound."""
    data = block.data
    if data.count(b"[") + data.count(b"{") <= limits.nesting_depth:
        return
    array = np.frombuffer(data, np.uint8)
    ends = np.append(np.flatnonzero(array == NEWLINE), len(data))
    openings = np.bincount(np.searchsorted(ends, np.flatnonzero((array | 0x20) == OPENING)), minlength=len(ends))
    for number in np.flatnonzero(openings > limits.nesting_depth):
        start = int(ends[number - 1]) + 1 if number else 0
        if _depth(data[start : ends[number]]) > limits.nesting_depth:
            raise InputError(
                f"nested deeper than {limits.nesting_depth} levels; flatten the row",
                file=source.uri,
                row=block.first_row + len(filled_lines(data[:start])),
            )


def _depth(line: bytes) -> int:
    """Levels of brackets outside strings. Escapes go first, then every other part between quotes is no string."""
    bare = b"".join(line.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    array = np.frombuffer(bare, np.uint8) | 0x20
    steps = (array == OPENING).astype(np.int64) - (array == 0x7D)
    return int(steps.cumsum().max(initial=0))

"""A 128-bit hash of what a row says, for exact duplicates.

Text is compared up to whitespace: every run of Unicode whitespace is one space, ends are stripped; case, punctuation
and accents count. Bytes are compared as they are. Knows nothing of clusters.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

from curator.signals.buffers import RowBytes, row_bytes
from curator.signals.text.bytescan import (
    E0,
    E1,
    E8,
    HIGHS,
    ONES,
    byte_equal,
    first_byte,
    inner,
    kernel,
    load_word,
    space_width,
    store_word,
)

__all__ = ["content_hash"]

_SPACES = ONES * np.uint64(32)


def content_hash(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """uint64[n, 2]: XXH3-128 of each row (low half first).

    string columns: of the text with whitespace normalised; binary columns: of the bytes. A null row, an empty one and a
    text of nothing but whitespace hash to (0, 0), which never makes a duplicate.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    rows = row_bytes(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        rows = _normalised(rows)
    raw = bytearray(16 * len(rows))
    data, offsets = rows.data.data, rows.offsets.tolist()
    for row in np.flatnonzero(rows.valid & (np.diff(rows.offsets) > 0)).tolist():
        digest = xxhash.xxh3_128_digest(data[offsets[row] : offsets[row + 1]])
        raw[16 * row : 16 * row + 16] = digest[::-1]
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


@kernel
def _squeeze(data, offsets, squeezed, ends):
    """Copies the rows with every run of whitespace as one space and none at the ends; fills where each row ends.

    Eight bytes at a time where they are ASCII whose only whitespace are single spaces and newlines.
    """
    to = np.uint64(0)
    for row in range(offsets.size - 1):
        at, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        begin = to
        spaced = True  # a space was just written, or nothing yet
        while at < stop:
            if stop - at >= E8:
                word, odd = _plain_spaces(load_word(data, at, stop), spaced)
                store_word(squeezed, to, word)
                plain = E8 if odd == E0 else first_byte(odd)
                if plain != E0:
                    spaced = (word >> (plain * E8 - E8)) & np.uint64(0xFF) == np.uint64(32)
                    at += plain
                    to += plain
                if plain == E8:
                    continue
            width = space_width(data, at, stop)
            if width == E0:
                squeezed[to] = data[at]
                to += E1
                at += E1
                spaced = False
                continue
            if not spaced:
                squeezed[to] = 32
                to += E1
                spaced = True
            at += width
            while stop - at >= E8 and load_word(data, at, stop) == _SPACES:
                at += E8
        if spaced and to > begin:
            to -= E1
        ends[row + 1] = to


@inner
def _plain_spaces(word, spaced):
    """(eight bytes with newlines as spaces, a flag on each that is not plain: beyond ASCII, a control character, a
    space after a space). spaced: whether a space precedes them."""
    lines = byte_equal(word, ONES * np.uint64(10))
    word ^= (lines >> np.uint64(7)) * np.uint64(10 ^ 32)
    spaces = byte_equal(word, _SPACES)
    low = ~((word & ~HIGHS) + ONES * np.uint64(0x80 - 32))
    before = (spaces << E8) | (np.uint64(0x80) if spaced else E0)
    return word, ((low | word) & HIGHS) | (spaces & before)


def _normalised(rows: RowBytes) -> RowBytes:
    ends = np.zeros(len(rows) + 1, np.int64)
    squeezed = np.empty(int(rows.offsets[-1] - rows.offsets[0]) + 8, np.uint8)
    _squeeze(rows.data, rows.offsets, squeezed, ends)
    return RowBytes(squeezed, ends, rows.valid)

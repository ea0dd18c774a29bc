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
from curator.signals.text.bytescan import E1, kernel
from curator.signals.text.tokens import next_word

__all__ = ["content_hash"]


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
    """Copies the rows with every run of whitespace as one space and none at the ends; fills where each row ends."""
    to = np.uint64(0)
    for row in range(offsets.size - 1):
        stop = np.uint64(offsets[row + 1])
        first = True
        begin, end, _ = next_word(data, np.uint64(offsets[row]), stop)
        while begin < stop:
            if not first:
                squeezed[to] = 32
                to += E1
            for at in range(begin, end):
                squeezed[to] = data[at]
                to += E1
            first = False
            begin, end, _ = next_word(data, end, stop)
        ends[row + 1] = to


def _normalised(rows: RowBytes) -> RowBytes:
    ends = np.zeros(len(rows) + 1, np.int64)
    squeezed = np.empty(int(rows.offsets[-1] - rows.offsets[0]), np.uint8)
    _squeeze(rows.data, rows.offsets, squeezed, ends)
    return RowBytes(squeezed, ends, rows.valid)

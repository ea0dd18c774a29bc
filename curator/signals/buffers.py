"""Arrow string and binary columns as the raw arrays that kernels read, without a copy.

Knows Arrow's layout (slices, nulls, 32- and 64-bit offsets, buffers of any origin); nothing of what is computed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

__all__ = ["RowBytes", "row_bytes"]


class RowBytes(NamedTuple):
    """Row i holds data[offsets[i]:offsets[i + 1]]; where valid[i] is False the row is null and its bytes mean nothing.

    The buffer may end right after the last row: kernels read eight bytes at once only where `data` has them.
    """

    data: np.ndarray  # uint8[num_bytes], the whole buffer, read-only
    offsets: np.ndarray  # int64[n + 1]
    valid: np.ndarray  # bool[n]

    def __len__(self) -> int:  # rows, not fields
        return len(self.valid)


def row_bytes(column: pa.Array | pa.ChunkedArray) -> RowBytes:
    """Views of a string, large_string, binary, large_binary, fixed_size_binary, view or dictionary column of those.

    Copies only what is not already one buffer (chunks, dictionaries, views). Raises TypeError for other types.
    """
    array = _plain(column)
    validity, offsets, data = array.buffers()
    count = len(array)
    width = np.int64 if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else np.int32
    if count == 0 or offsets is None or offsets.size == 0:
        starts = np.zeros(count + 1, np.int64)
    else:
        itemsize = np.dtype(width).itemsize
        starts = np.frombuffer(offsets, width, count + 1, array.offset * itemsize).astype(np.int64)
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    raw.flags.writeable = False  # always, so that kernels are compiled for one type
    valid = np.ones(count, bool) if validity is None or not array.null_count else array.is_valid().to_numpy(False)
    return RowBytes(raw, starts, valid)


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of string, large_string, binary or large_binary."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # zero chunks, or too long for one array of 32-bit offsets
            column = _plain_type(column).combine_chunks()
    return _plain_type(column)


def _plain_type(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise TypeError(f"a column of {kind} holds neither text nor bytes; give a string or binary column")
    return column

"""Side files as arrays: signal columns, fixed-size bytes, embeddings. Knows columns, not steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["bytes_matrix", "embedding_matrix", "fixed_bytes", "found_in", "signal_columns"]


def bytes_matrix(column: pa.ChunkedArray | pa.Array, dtype: Any) -> np.ndarray:
    """binary(w)[n] as dtype[n, w / itemsize]; a view where the column is one chunk. No nulls."""
    array = _one(column)
    width = array.type.byte_width
    raw = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    return raw.view(dtype).reshape(len(array), width // np.dtype(dtype).itemsize)


def fixed_bytes(matrix: np.ndarray) -> pa.Array:
    """The inverse: any [n, k] array as binary(k · itemsize)[n]."""
    raw = np.ascontiguousarray(matrix)
    return pa.Array.from_buffers(pa.binary(raw.shape[1] * raw.itemsize), len(raw), [None, pa.py_buffer(raw.tobytes())])


def found_in(ids: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample ids uint8[n, 16] looked up among ascending keys S16[k]: (rows of those found int64[m], their keys' places
    int64[m]). Takes memory for the n rows alone, however many keys there are."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    wanted = np.ascontiguousarray(ids).view("S16").reshape(-1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    rows = np.flatnonzero(keys[at] == wanted)
    return rows, at[rows]


def embedding_matrix(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(float32[n, d], valid bool[n]) of an embeddings side file."""
    array = _one(table["embedding"])
    flat = array.flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32).reshape(len(array), array.type.list_size), _one(table["valid"]).to_numpy(
        zero_copy_only=False
    )


def signal_columns(table: pa.Table) -> dict[str, np.ndarray]:
    """name -> float32[n], NaN where the signal cannot say."""
    return {
        name.removeprefix("signal."): _one(table[name]).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        for name in table.column_names
        if name.startswith("signal.")
    }


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

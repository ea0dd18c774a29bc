"""numpy to Arrow and back over the same memory, for plain integers and short lists of words.

`pa.array` and `to_numpy` do as much, but load pandas where it is installed: a third of a second in every process that
pulls shards. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["arrow_ints", "arrow_words", "grouped", "numpy_ints"]


def arrow_ints(values: np.ndarray) -> Any:
    """An integer array as Arrow, sharing memory."""
    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])


def numpy_ints(array: Any) -> np.ndarray:
    """An Arrow integer array without nulls as numpy, sharing memory."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    data = array.buffers()[1]
    start = array.offset * dtype.itemsize
    return np.frombuffer(data if data is not None else b"", dtype=dtype, count=len(array), offset=start)


def arrow_words(words: Sequence[str]) -> Any:
    """Words as an Arrow string array."""
    data = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(data), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(data))])


def grouped(keys: np.ndarray) -> list[np.ndarray]:
    """The places of each distinct key, by rising key, each group rising. keys: int64[m]."""
    if not keys.size:
        return []
    low = keys.min()
    small = keys - low
    if int(keys.max()) - int(low) < 1 << 16:
        small = small.astype(np.uint16)  # numpy sorts 16 bits by radix, in a tenth of the time
    order = np.argsort(small, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(small[order])) + 1)

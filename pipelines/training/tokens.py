"""Text to byte tokens: a vocabulary of 256 bytes and three marks, so nothing is downloaded and no text is unknown.

Knows Arrow strings and numpy; nothing of models or tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["BEGIN", "END", "PAD", "Tokens", "VOCABULARY", "decode", "encode", "encode_flat"]

PAD, BEGIN, END = 256, 257, 258
VOCABULARY = 320
"""259 ids in use, rounded up to a multiple of 64 for the matrix units; ids from 259 never occur."""

_STEP = 16  # batches are padded to a multiple of this, so that few distinct shapes reach the allocator


@dataclass(frozen=True)
class Tokens:
    """A padded batch. `ids` int64[B, T] right-padded with PAD; `lengths` int64[B], marks included, at least 2."""

    ids: np.ndarray
    lengths: np.ndarray
    cut: np.ndarray
    """bytes cut off each row, int64[B]; 0 where the row fits"""

    @property
    def num_truncated(self) -> int:
        """rows cut to the context"""
        return int(np.count_nonzero(self.cut))


def encode(texts: pa.Array, *, context: int) -> Tokens:
    """BEGIN, the UTF-8 bytes, END for every row; a row longer than `context` keeps its first context - 2 bytes.

    `texts` is a string or binary array without nulls; no per-row Python. A cut may fall inside a character: bytes are
    the tokens, characters are not. Raises ValueError for a null or a context under 3.
    """
    if context < 3:
        raise ValueError(f"a context of {context} has no room for a byte between the two marks; use at least 3")
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null; a null has no tokens")
    starts, sizes, data = _buffers(texts)
    kept = np.minimum(sizes, context - 2)
    lengths = kept + 2
    width = _padded_width(int(lengths.max(initial=2)), context)
    ids = np.full((len(texts), width), PAD, dtype=np.int64)
    ids[:, 0] = BEGIN
    inside = np.arange(width - 2) < kept[:, None]
    ids[:, 1:-1][inside] = data[(starts[:, None] + np.arange(width - 2))[inside]]
    ids[np.arange(len(texts)), lengths - 1] = END
    return Tokens(ids, lengths, sizes - kept)


def encode_flat(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(ids int32 of all rows end to end, each BEGIN, the UTF-8 bytes, END; where each row ends, int64[B]).

    The whole of every text, without padding. Raises ValueError for a null.
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null; a null has no tokens")
    starts, sizes, data = _buffers(texts)
    ends = np.cumsum(sizes + 2)
    if not len(ends):
        return np.zeros(0, dtype=np.int32), ends
    ids = np.empty(int(ends[-1]), dtype=np.int32)
    marks = np.zeros(len(ids), dtype=bool)
    marks[ends - 1] = marks[ends - sizes - 2] = True
    ids[~marks] = data[int(starts[0]) : int(starts[-1] + sizes[-1])]
    ids[ends - sizes - 2], ids[ends - 1] = BEGIN, END
    return ids, ends


def decode(ids: np.ndarray) -> str:
    """The text of one row of ids, marks and padding left out; bytes cut inside a character become U+FFFD."""
    return bytes(ids[ids < 256].astype(np.uint8)).decode("utf-8", errors="replace")


def _padded_width(longest: int, context: int) -> int:
    return min(-(-longest // _STEP) * _STEP, context)


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start int64[B], size int64[B], bytes uint8[…]) without copying the text."""
    array = pc.cast(texts, pa.large_binary())
    offsets_buffer, data_buffer = array.buffers()[1:]
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.empty(0, dtype=np.uint8)
    return offsets[:-1], np.diff(offsets), data

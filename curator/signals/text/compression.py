"""How far zlib shrinks a text: very far for repetition, hardly at all for keys, hashes and encoded bytes.

Knows bytes only. Equal zlib builds give equal numbers; another build may differ in the last digits.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.family import Family

__all__ = ["COMPRESSION", "MIN_BYTES", "PREFIX_BYTES"]

PREFIX_BYTES: Final = 2048
"""Only so many bytes from the start are compressed: the cost is bounded and long texts stay comparable."""

MIN_BYTES: Final = 512
"""Shorter texts say nothing: zlib has not yet learnt their letters."""

_LEVEL: Final = 1

SIGNALS: Final = {
    "compression_ratio": "bytes before over after zlib (level 1, first 2,048 bytes); cannot say below 512 bytes",
}


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    out = np.full((len(rows), 1), np.nan, np.float32)
    starts = rows.offsets[:-1]
    sizes = np.minimum(rows.offsets[1:] - starts, PREFIX_BYTES)
    data = rows.data.data
    for row in np.flatnonzero(rows.valid & (sizes >= MIN_BYTES)).tolist():
        start, size = int(starts[row]), int(sizes[row])
        out[row, 0] = size / len(zlib.compress(data[start : start + size], _LEVEL))
    return out


COMPRESSION: Final = Family(SIGNALS, _score)

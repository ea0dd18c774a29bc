"""What the index holds of a row: keys by which rows meet, and a sketch by which those that met are compared.

Knows hashes and signatures; neither rows' numbers nor files.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.duplicates.edges import ALMOST_ONE
from curator.duplicates.signatures import band_hashes
from curator.signals.text.bytescan import kernel

__all__ = ["CONTENT_BYTES", "row_keys", "similarities", "sketches"]

CONTENT_BYTES: Final = 16
"""Of a sketch, the first so many are the content hash."""

_CHANCE: Final = 1 / 256
"""How often the last bytes of two numbers are equal that are not."""


def row_keys(
    content_hash: np.ndarray, signatures: np.ndarray | None, bands: int, apart: np.ndarray | None = None
) -> np.ndarray:
    """uint64[n, 1 + bands] ([n, 1] without signatures): rows that share a key are compared. Even: of the content
    (63 bits of it); odd: of a band of the signature; 0: nothing to compare.

    content_hash: uint64[n, 2]. signatures: uint32[n, P]. apart: uint64[n], a random-looking number for each kind of
    row, such as a hash of its label: rows of different kinds share no key.
    """
    numbers = np.zeros(len(content_hash), np.uint64) if apart is None else np.asarray(apart, np.uint64)
    even = ~np.uint64(1)
    content = (content_hash[:, :1] ^ numbers[:, None]) & even
    content[content == 0] = 2
    content[~content_hash.any(axis=1)] = 0
    if signatures is None:
        return content
    near = band_hashes(signatures, bands)
    near[near != 0] ^= np.broadcast_to((numbers & even)[:, None], near.shape)[near != 0]  # an odd key stays odd
    return np.concatenate([content, near], axis=1)


def sketches(content_hash: np.ndarray, signatures: np.ndarray | None) -> np.ndarray:
    """uint8[n, 16 + P]: the content hash, then the last byte of each number of the signature (b-bit minwise hashing,
    Li & König 2010, with b = 8: a quarter of the size, and the same standard error within 2%)."""
    content = np.ascontiguousarray(content_hash, np.uint64).view(np.uint8).reshape(-1, CONTENT_BYTES)
    return content if signatures is None else np.concatenate([content, signatures.astype(np.uint8)], axis=1)


def similarities(a: np.ndarray, b: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32[k]: 1 where sketches a[i] and b[rows[i]] are of one content, else the estimate of their Jaccard
    similarity, at most `ALMOST_ONE`. Sketches without signatures, or of two widths, are compared by content alone."""
    out = np.empty(len(a), np.float32)
    _compare(a, b, rows, out)
    return out


@kernel
def _compare(a, b, rows, out):
    width = a.shape[1] if a.shape[1] == b.shape[1] else CONTENT_BYTES
    for pair in range(a.shape[0]):
        x, y = a[pair], b[rows[pair]]
        alike = True
        for k in range(CONTENT_BYTES):
            alike &= x[k] == y[k]
        if alike:
            out[pair] = 1.0
            continue
        equal = np.int32(0)
        for k in range(CONTENT_BYTES, width):
            equal += np.int32(x[k] == y[k])
        share = equal / max(width - CONTENT_BYTES, 1)
        out[pair] = min(np.float32(max((share - _CHANCE) / (1 - _CHANCE), 0.0)), ALMOST_ONE)

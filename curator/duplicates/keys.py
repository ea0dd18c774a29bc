"""The keys by which rows meet in the index. Knows hashes and signatures; neither rows' numbers nor files."""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import numpy as np

from curator.duplicates.signatures import band_hashes

__all__ = ["row_keys"]


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

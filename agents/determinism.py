"""What makes learning give the same bytes anywhere: one thread, folds and roles by hash of the sample id, fixed chunks.

Knows nothing of what is learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch

__all__ = ["CHUNK_ROWS", "NUM_FOLDS", "fold_of", "id_keys", "id_uniform", "one_thread"]

NUM_FOLDS: Final = 5
CHUNK_ROWS: Final = 1024
"""Rows per matrix product. Short chunks are padded to it: a row's bits must not hang on the rows beside it."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread and restores the former number: sums in another order are other sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def id_uniform(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """A number in [0, 1) per sample id, float64[n]; independent between purposes and seeds.

    ids: uint8[n, 16]. splitmix64 (Steele, Lea & Flood 2014) over both halves of the id.
    """
    halves = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
    salt = np.frombuffer(purpose.encode().ljust(8, b"\0")[:8], "<u8")[0] ^ np.uint64(seed % 2**64)
    mixed = _splitmix64(_splitmix64(halves[:, 0] ^ salt) ^ halves[:, 1])
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fold_of(ids: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each row, int64[n] in [0, NUM_FOLDS): fold k's models never train on rows of fold k."""
    return (id_uniform(ids, seed, "fold") * NUM_FOLDS).astype(np.int64)


def id_keys(ids: np.ndarray) -> np.ndarray:
    """Ids as sortable scalars, S16[n]; all are 16 bytes long, so numpy's stripping of zeros does no harm."""
    return np.ascontiguousarray(ids).view("S16").reshape(-1)

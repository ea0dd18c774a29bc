"""Random numbers that belong to a row: a function of (seed, step, sample id, operator), whoever asks and beside whom.

A step is a place in the epochs; so a row gets new numbers each time it comes, and the same ones on any rank, in any
batch, before and after a resume. Knows ids; nothing of what is drawn for.

Legend: B rows, N parts of all rows.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from agents.determinism import id_uniform

__all__ = ["Draws"]


class Draws:
    """Of the rows of one batch at one step, for one operator."""

    def __init__(self, seed: int, step: int, operator: str, sample_ids: pa.Array):
        """`sample_ids`: binary(16), no nulls."""
        self._seed = int.from_bytes(hashlib.sha256(f"{seed}/{step}/{operator}".encode()).digest()[:8], "little")
        data = np.frombuffer(sample_ids.buffers()[1], dtype=np.uint8).reshape(-1, 16)
        self._ids = data[sample_ids.offset : sample_ids.offset + len(sample_ids)]

    def rows(self, purpose: str) -> np.ndarray:
        """A number in [0, 1) for each row, float64[B]; independent between purposes."""
        return id_uniform(self._ids, self._seed, purpose)

    def parts(self, purpose: str, numbers: np.ndarray) -> np.ndarray:
        """A number in [0, 1) for each part of each row, float64[N]; row b has `numbers[b]` parts, in order."""
        halves = np.repeat(self._ids.view("<u8"), numbers, axis=0)
        first = np.repeat(np.cumsum(numbers) - numbers, numbers)
        halves[:, 1] += (np.arange(len(halves)) - first).astype(np.uint64)
        return id_uniform(halves.view(np.uint8), self._seed, purpose)

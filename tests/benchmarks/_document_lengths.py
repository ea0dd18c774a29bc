"""The length list that packed documents are measured on: 1,024 documents, log-normal, and how they become batches.

Published by its formula: exp of a normal of mean 5.9 and deviation 1, drawn by numpy's Philox with key (0, 0), rounded
down, between 16 and 8,192 tokens.
"""

from __future__ import annotations

import numpy as np

from pipelines.training.packing import Packer, Piece

LONGEST = 8192


def published_lengths(count: int = 1024) -> list[int]:
    draws = np.random.Generator(np.random.Philox(key=[0, 0])).normal(5.9, 1.0, count)
    return np.clip(np.exp(draws), 16, LONGEST).astype(int).tolist()


def padded(lengths: list[int], rows: int, *, ordered: bool) -> list[list[int]]:
    """Batches of `rows` documents as they come, or from the shortest to the longest."""
    kept = sorted(lengths) if ordered else lengths
    return [kept[first : first + rows] for first in range(0, len(kept), rows)]


def packed(lengths: list[int], length: int, sequences: int, num_open: int = 64) -> list[list[list[int]]]:
    """Batches of `sequences` sequences, each the lengths of its documents, as the product packs them."""
    packer = Packer(length, num_open)
    for row, size in enumerate(lengths):
        blank = np.zeros(size, dtype=np.int32)
        packer.add(Piece(row, size, row.to_bytes(16, "big"), blank, blank))
    packer.close_all()
    out = []
    while len(packer):
        taken = [[len(piece) for piece in sequence] for sequence in packer.take(sequences)]
        out.append(taken + [[] for _ in range(sequences - len(taken))])
    return out

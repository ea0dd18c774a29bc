"""Vectors as whole numbers, so that whatever is computed of them is the same on every machine and in any order.

A vector is brought to the length `LENGTH` and rounded. Products of two such vectors, and all sums on the way to one,
stay below 2^24 (Cauchy and Schwarz), up to where float32 holds every whole number: a matrix product of any library, on
any number of threads, is exact. A cosine is right to within 0.001. Knows vectors; nothing of rows, files or thresholds.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import kernel

__all__ = ["CLOSEST", "LENGTH", "centres", "nearest", "similar_before", "whole_vectors"]

LENGTH: Final = 4000
CLOSEST: Final = 8
"""Of the rows before it, a row is paired with so many of the most similar."""
_BLOCK: Final = 256
"""Rows compared at once with all before them."""
_ROUNDS: Final = 10


def whole_vectors(vectors: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """int16[n, d] of real [n, d]; zeros for rows that are not valid (bool[n]), have no length or are not finite."""
    rows = np.asarray(vectors, np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1))
    usable = np.isfinite(lengths) & (lengths > 0)
    if valid is not None:
        usable &= valid
    out = np.zeros(rows.shape, np.int16)
    out[usable] = np.rint(rows[usable] * (LENGTH / lengths[usable, None]))
    return out


def centres(sample: np.ndarray, count: int) -> np.ndarray:
    """int16[at most count, d]: k-means by cosine of int16[n, d], begun at the first different rows of the sample."""
    rows = sample[sample.any(axis=1)]
    _, firsts = np.unique(rows, axis=0, return_index=True)
    found = rows[np.sort(firsts)[:count]]
    for _ in range(_ROUNDS if len(found) else 0):
        of = nearest(rows, found)
        sums = np.zeros(found.shape, np.int64)
        np.add.at(sums, of, rows)
        moved = whole_vectors(sums)
        empty = np.flatnonzero(np.bincount(of, minlength=len(found)) == 0)
        moved[empty] = found[empty]
        if np.array_equal(moved, found):
            break
        found = moved
    return found


def nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """int64[n]: the centre of largest product with each int16[n, d], of equals the first; 0 where there is none."""
    of = np.zeros(len(vectors), np.int64)
    if not len(centres):
        return of
    across = np.ascontiguousarray(centres.astype(np.float32).T)
    for low in range(0, len(vectors), 16 * _BLOCK):
        span = slice(low, low + 16 * _BLOCK)
        of[span] = (vectors[span].astype(np.float32) @ across).argmax(axis=1)
    return of


def similar_before(vectors: np.ndarray, apart: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a int64[k], b int64[k], cosine float32[k]): each row b with up to `CLOSEST` rows a before it, the most similar
    ones of at least `floor` and of the same number in apart (uint64[n]). A row of zeros is like none."""
    real = vectors.astype(np.float32)
    squares = (vectors.astype(np.int64) ** 2).sum(axis=1)
    others, cosines = np.full((len(vectors), CLOSEST), -1, np.int64), np.full((len(vectors), CLOSEST), -2, np.float32)
    for low in range(0, len(vectors), _BLOCK):
        products = real[low : low + _BLOCK] @ real[: low + _BLOCK].T
        _closest(products, low, squares, apart, np.float32(floor), others, cosines)
    b, place = np.nonzero(others >= 0)
    return others[b, place], b, cosines[b, place]


@kernel
def _closest(products, low, squares, apart, floor, others, cosines):
    """Fills, for each row of a block that begins at `low`, the most similar rows before it; of equals the first."""
    for k in range(products.shape[0]):
        b = low + k
        for a in range(b if squares[b] else 0):
            if products[k, a] <= 0 or squares[a] == 0 or apart[a] != apart[b]:
                continue
            cosine = np.float32(np.float64(products[k, a]) / np.sqrt(np.float64(squares[a]) * np.float64(squares[b])))
            if cosine < floor or cosine <= cosines[b, -1]:
                continue
            place = others.shape[1] - 1
            while place > 0 and cosines[b, place - 1] < cosine:
                others[b, place], cosines[b, place] = others[b, place - 1], cosines[b, place - 1]
                place -= 1
            others[b, place], cosines[b, place] = a, cosine

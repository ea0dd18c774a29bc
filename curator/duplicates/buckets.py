"""Rows that share a key as pairs to compare. Knows keys and row numbers, not files."""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from curator.signals.text.bytescan import kernel

__all__ = ["SMALL_BUCKET", "Candidates", "bucket_pairs"]

SMALL_BUCKET: Final = 16
"""A bucket's first so many rows are paired each with each; a later row with the bucket's first and the one before it:
a million near-copies cost two million pairs, not half a trillion. Which rows before it a row is paired with depends on
those alone, so that rows added later add pairs and change none."""


class Candidates(NamedTuple):
    """Pairs a < b to compare, ascending by (b, a), each once for either kind: of one content, or near."""

    a: np.ndarray  # int64[k]
    b: np.ndarray  # int64[k]
    exact: np.ndarray  # bool[k]


def bucket_pairs(keys: np.ndarray, rows: np.ndarray, first_new: int) -> Candidates:
    """keys: uint64[n], none 0; rows: int64[n], in any order. Pairs whose later row is `first_new` or after.

    A content's rows are paired with its first alone.
    """
    order = np.argsort(keys)
    shared = _shared(keys[order])
    order = order[shared]
    order = order[np.lexsort((rows[order], keys[order]))]
    keys, rows = keys[order], rows[order]
    pairs = np.empty((_pairs(keys, rows, first_new, np.empty((0, 2), np.int64), np.empty(0, np.bool_)), 2), np.int64)
    exact = np.empty(len(pairs), np.bool_)
    _pairs(keys, rows, first_new, pairs, exact)
    order = np.lexsort((exact, pairs[:, 0], pairs[:, 1]))
    pairs, exact = pairs[order], exact[order]
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1) | (exact[1:] != exact[:-1])
    return Candidates(pairs[new, 0], pairs[new, 1], exact[new])


def _shared(ordered: np.ndarray) -> np.ndarray:
    """bool[n]: keys that occur more than once, among ascending ones."""
    shared = np.zeros(len(ordered), bool)
    same = ordered[1:] == ordered[:-1]
    shared[1:] = same
    shared[:-1] |= same
    return shared


@kernel
def _pairs(keys, rows, first_new, pairs, exact):
    """Counts the pairs, and fills them in where there is room."""
    count = 0
    first = 0
    for at in range(keys.size):
        if keys[at] != keys[first]:
            first = at
        place = at - first
        if place == 0 or rows[at] < first_new:
            continue
        content = keys[at] & np.uint64(1) == np.uint64(0)
        partners = 1 if content else place if place < SMALL_BUCKET else 2
        for k in range(partners):
            if count < exact.size:
                pairs[count, 0] = rows[at - 1] if k == 1 and place >= SMALL_BUCKET else rows[first + k]
                pairs[count, 1] = rows[at]
                exact[count] = content
            count += 1
    return count

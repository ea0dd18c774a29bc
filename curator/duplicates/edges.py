"""Pairs of rows that say nearly the same, and what may be asked of them. Knows row numbers, not texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curator.duplicates.forest import components

__all__ = ["ALMOST_ONE", "Edges"]

ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))
"""The similarity of equal signatures over unequal content: 1 is kept for equal content."""


class Edges(NamedTuple):
    """Verified pairs a < b of global row numbers, sorted by (a, b), each once. Similarity 1 means equal content."""

    a: np.ndarray  # int64[k]
    b: np.ndarray  # int64[k]
    similarity: np.ndarray  # float32[k], in [0, 1]

    def where(self, usable: np.ndarray, *, exact_only: bool = False) -> Edges:
        """The pairs between usable rows (bool[num_rows]); with `exact_only`, those of equal content.

        Copies of one content hang together through one row in the index: where that row is not usable, its copies are
        tied to the first that is, so that dropping one copy elsewhere never hides the others from each other.
        """
        exact = self.similarity >= 1
        ties = _exact_ties(self.a[exact], self.b[exact], usable)
        if exact_only:
            return ties
        near = ~exact & usable[self.a] & usable[self.b]
        parts = [np.concatenate([mine, theirs[near]]) for mine, theirs in zip(ties, self, strict=True)]
        order = np.lexsort((parts[1], parts[0]))
        return Edges(*(part[order] for part in parts))


def _exact_ties(a: np.ndarray, b: np.ndarray, usable: np.ndarray) -> Edges:
    """Equal content as stars: the first usable row of each group, tied to its other usable rows."""
    rows = np.unique(np.concatenate([a, b]))
    group = components(len(rows), np.searchsorted(rows, a), np.searchsorted(rows, b))
    open_rows = usable[rows]
    rows, group = rows[open_rows], group[open_rows]
    order = np.argsort(group, kind="stable")
    rows, group = rows[order], group[order]
    leads = np.ones(len(rows), bool)
    leads[1:] = group[1:] != group[:-1]
    first = rows[leads][np.cumsum(leads) - 1] if len(rows) else rows
    a, b = first[~leads], rows[~leads]
    order = np.lexsort((b, a))
    return Edges(a[order], b[order], np.ones(len(a), np.float32))

"""Union-find over row numbers. Knows pairs; nothing of what ties them."""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import numpy as np

from curator.signals.text.bytescan import inner, kernel

__all__ = ["components"]


def components(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int64[count]: the smallest member of each row's component under the pairs (a[i], b[i]), in any order."""
    parent = np.arange(count, dtype=np.int64)
    _unite(parent, np.ascontiguousarray(a, np.int64), np.ascontiguousarray(b, np.int64))
    return parent


@inner
def _root(parent, row):
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@kernel
def _unite(parent, a, b):
    """The smaller root always wins, so that roots are smallest members; afterwards every row points at its root."""
    for pair in range(a.size):
        x, y = _root(parent, a[pair]), _root(parent, b[pair])
        if x < y:
            parent[y] = x
        elif y < x:
            parent[x] = y
    for row in range(parent.size):
        parent[row] = _root(parent, row)

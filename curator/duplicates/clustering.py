"""From pairs to clusters: which row of each stays, and which row every other one duplicates.

Knows row numbers only.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import numpy as np

from curator.duplicates.edges import Edges
from curator.duplicates.forest import components
from curator.signals.text.bytescan import kernel

__all__ = ["clusters"]


def clusters(
    num_rows: int, edges: Edges, threshold: float, *, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(duplicate_of int64[num_rows], similarity float32[num_rows]); -1 and NaN for rows that stay.

    Rows tied by a chain of pairs of at least `threshold` form a cluster; one row of it stays, and every other names it:
    the heaviest by `weights` (int64[num_rows]), of equals the first; without weights the first. A row's similarity is
    that of its pair with the kept row where there is one, else of its own closest pair in the chain.
    """
    close = edges.similarity >= np.float32(threshold)
    a, b, similarity = (part[close] for part in edges)
    root = components(num_rows, a, b)
    kept = root if weights is None else _heaviest(root, np.ascontiguousarray(weights, np.int64))
    of = np.where(kept[root] == np.arange(num_rows), -1, kept[root])
    return of, _similarities(a, b, similarity, of)


@kernel
def _heaviest(root, weights):
    """best[r]: the heaviest member of the component with root r, the first among equals."""
    best = root.copy()
    for row in range(root.size):
        r = root[row]
        if weights[row] > weights[best[r]] or (weights[row] == weights[best[r]] and row < best[r]):
            best[r] = row
    return best


@kernel
def _similarities(a, b, similarity, of):
    closest = np.full(of.size, np.nan, np.float32)
    direct = np.full(of.size, np.nan, np.float32)
    for pair in range(a.size):
        x, y, s = a[pair], b[pair], similarity[pair]
        closest[x] = np.fmax(closest[x], s)
        closest[y] = np.fmax(closest[y], s)
        if of[x] == y:
            direct[x] = s
        if of[y] == x:
            direct[y] = s
    for row in range(of.size):
        if of[row] < 0:
            closest[row] = np.nan
        elif not np.isnan(direct[row]):
            closest[row] = direct[row]
    return closest

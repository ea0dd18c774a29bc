"""From "the k-th easy row" to (shard, row): binary search over cumulative live counts, then the shard's index.

Knows manifests' counts and indexes; opens no row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from curator.shards.arrays import grouped
from curator.shards.index import ShardIndex
from curator.shards.manifest import Manifest

__all__ = ["Locator", "Order"]

Order = Literal["sample_id", "row"]


class Locator:
    """Places of a manifest's live rows.

    index_of: the index of a shard by its number in the manifest. order: how rows of one difficulty are counted within
    a shard. `sample_id`, as the index lists them; `row`, by rising row number, so that neighbours share a record
    batch: what the shuffles `window` and `none` count in.
    """

    def __init__(self, manifest: Manifest, index_of: Callable[[int], ShardIndex], order: Order = "sample_id"):
        self._index_of, self._order = index_of, order
        ends = np.cumsum(manifest.live_by_shard, axis=0)
        self._ends = np.ascontiguousarray(ends.T) if len(ends) else np.zeros((3, 0), dtype=np.int64)
        self._starts = self._ends - manifest.live_by_shard.T

    def places(self, difficulty: int, rank: np.ndarray) -> np.ndarray:
        """(shard number, row number) int64[m, 2] of each rank int64[m] among the difficulty's live rows.

        Raises ValueError on a rank that is not there, and what `index_of` raises.
        """
        ends = self._ends[difficulty]
        if rank.size and not 0 <= rank.min() <= rank.max() < (ends[-1] if ends.size else 0):
            raise ValueError(f"ranks {rank.min()} to {rank.max()} outside the {ends[-1] if ends.size else 0} live rows")
        shards, found = np.searchsorted(ends, rank, side="right"), np.empty(len(rank), dtype=np.int64)
        for group in grouped(shards):
            shard = int(shards[group[0]])
            index = self._index_of(shard)
            rows = (index.by_row if self._order == "row" else index.by_difficulty)[difficulty]
            found[group] = rows.take(rank.take(group) - self._starts[difficulty, shard])
        return np.stack([shards, found]).T  # columns lie together

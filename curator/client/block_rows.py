"""The rows at some positions of an epoch, wherever they lie: a block read by itself.

Knows a plan and a reader; nothing of leases. `windows.gather` walks an epoch and decodes each record batch once a
window; this reads one stretch and nothing beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curator.client.windows import Chunk, Draft
from curator.epochs.locate import Locator, Order
from curator.epochs.plan import EpochPlan
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader

__all__ = ["read_block"]


def read_block(
    plan: EpochPlan,
    manifest: Manifest,
    reader: ShardReader,
    epoch: int,
    first: int,
    stop: int,
    columns: Sequence[str] | None = None,
) -> Chunk:
    """Whole global batches, those of positions [first, stop), as `gather` gives them: difficulty last, padded slots
    repeat a row. Raises what the reader and the plan raise."""
    mix = plan.interleave(epoch)
    batches = np.arange(first // plan.global_batch_size, -(-stop // plan.global_batch_size))
    slots = mix.slices(batches, 0, plan.global_batch_size)
    found = plan.ranks(epoch, slots)
    order: Order = "sample_id" if plan.shuffle == "full" else "row"
    locator = Locator(manifest, lambda shard: reader.open(manifest, shard).index, order)
    chosen = [np.flatnonzero(found.difficulty == difficulty) for difficulty in range(3)]
    wanted = [locator.places(difficulty, found.rank[mine]) for difficulty, mine in enumerate(chosen) if mine.size]
    parts = reader.pick_all(manifest, wanted, columns)
    laid, places = np.concatenate(chosen), np.zeros(len(slots.nth), np.int64)
    places[laid] = np.arange(len(laid))
    ends = np.cumsum([mix.batch_rows(batch) for batch in batches.tolist()])
    return Draft(batches, ends, parts, places, slots.difficulty).chunk()

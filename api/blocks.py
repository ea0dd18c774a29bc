"""A stretch of one rank's rows of an epoch, as places: which shard, which row, which difficulty.

Knows plans and indexes; opens no row. A position is global within the epoch, so the order is the same for any number
of ranks.
"""

from __future__ import annotations

import numpy as np

from api.bodies import View
from curator.difficulty import NAMES
from curator.epochs.interleave import PADDING
from curator.epochs.locate import Locator, Order
from curator.epochs.plan import EpochPlan, rank_slice
from curator.errors import RequestError
from curator.shards import Manifest, ShardReader

__all__ = ["Blocks", "blocks"]


class Blocks(View):
    """One entry for each row, in the order of consumption: `shards[shard[i]]`'s row `row[i]` stands at `position[i]`.

    A padded slot (`tail: pad`) has shard and row -1 and no difficulty. `next_from`: where to go on, null at the end.
    """

    plan: str
    epoch: int
    rank: int
    world_size: int
    shards: tuple[str, ...]
    indexes: tuple[str | None, ...]
    position: tuple[int, ...]
    shard: tuple[int, ...]
    row: tuple[int, ...]
    difficulty: tuple[str | None, ...]
    next_from: int | None


def blocks(
    plan: EpochPlan,
    manifest: Manifest,
    reader: ShardReader,
    *,
    epoch: int,
    rank: int,
    world_size: int,
    start: int,
    limit: int,
) -> Blocks:
    """Up to `limit` rows (at least one global batch's slice) of a rank from global position `start` on.

    Raises RequestError for an epoch, rank or position the plan does not have; a position is the start of a global
    batch.
    """
    low, high = rank_slice(plan.global_batch_size, rank, world_size)
    mix = plan.interleave(epoch)
    first, rest = divmod(start, plan.global_batch_size)
    if rest or not 0 <= start <= mix.length:
        raise RequestError(
            f"from={start} is no start of a global batch of {plan.global_batch_size} in an epoch of {mix.length}"
        )
    until = min(first + max(limit // (high - low), 1), mix.num_batches)
    batches = np.arange(first, until, dtype=np.int64)
    slots = mix.slices(batches, low, high)
    found = plan.ranks(epoch, slots)
    places = _places(plan, manifest, reader, found.difficulty, found.rank)
    positions = (batches[:, None] * plan.global_batch_size + np.arange(low, high)).ravel()
    used = sorted({number for number in places[:, 0].tolist() if number >= 0})
    renumbered = {number: place for place, number in enumerate(used)}
    return Blocks(
        plan=plan.id,
        epoch=epoch,
        rank=rank,
        world_size=world_size,
        shards=tuple(manifest.shards[number].digest for number in used),
        indexes=tuple(manifest.shards[number].index for number in used),
        position=tuple(positions[positions < mix.length].tolist()),
        shard=tuple(renumbered.get(number, -1) for number in places[:, 0].tolist()),
        row=tuple(places[:, 1].tolist()),
        difficulty=tuple(None if code == PADDING else NAMES[code] for code in found.difficulty.tolist()),
        next_from=until * plan.global_batch_size if until < mix.num_batches else None,
    )


def _places(
    plan: EpochPlan, manifest: Manifest, reader: ShardReader, difficulty: np.ndarray, rank: np.ndarray
) -> np.ndarray:
    """int64[m, 2] (shard number, row), -1 where padded."""
    order: Order = "sample_id" if plan.shuffle == "full" else "row"
    locator = Locator(manifest, lambda shard: reader.open(manifest, shard).index, order)
    places = np.full((len(rank), 2), -1, np.int64)
    for code in range(len(NAMES)):
        chosen = np.flatnonzero(difficulty == code)
        if chosen.size:
            places[chosen] = locator.places(code, rank[chosen])
    return places

"""Gathers an epoch's rows window by window, so that each record batch is decoded once a window.

Knows a plan and a reader; nothing of ranks' meaning, workers, torch or cursors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curator.difficulty import NAMES
from curator.epochs.interleave import PADDING, Slots
from curator.epochs.locate import Locator, Order
from curator.epochs.plan import EpochPlan
from curator.shards.arrays import arrow_ints, arrow_words
from curator.shards.manifest import Manifest
from curator.shards.picked import Picked, together
from curator.shards.reader import ShardReader

__all__ = ["AHEAD", "Chunk", "Draft", "Share", "difficulty_column", "gather", "named_difficulties"]

AHEAD = 3
"""Chunks begun beside the one in use."""
CHUNK_ROWS = 8192
LAID_OUT = 4  # chunks whose slots are worked out together
CHUNK_BYTES = 32 * 2**20  # of compressed rows: heavy rows come in smaller chunks


@dataclass(frozen=True)
class Share:
    """Which slots of an epoch are wanted: places [low, high) of every `step`-th global batch from `first` on."""

    low: int
    high: int
    first: int = 0
    step: int = 1

    def is_all(self, batch_size: int) -> bool:
        """Whether nothing after the first wanted slot is passed over."""
        return self.step == 1 and self.low == 0 and self.high == batch_size

    def batches(self, begin: int, end: int) -> np.ndarray:
        """The wanted batches in [begin, end): int64[m], rising."""
        begin = max(begin, self.first)
        begin += -(begin - self.first) % self.step
        return np.arange(begin, end, self.step)


class Chunk(NamedTuple):
    """Rows of several global batches, one after the other.

    batches: int64[m], their numbers. ends: int64[m], where each one's rows end in `rows`.
    """

    batches: np.ndarray
    ends: np.ndarray
    rows: pa.RecordBatch


@dataclass(frozen=True)
class Draft:
    """A chunk before its rows are put together: where they lie is known, most of the copying is still to be done.

    parts: rows laid end to end; order: int64[m], which of them comes at each place; codes: uint8[m], difficulties.
    """

    batches: np.ndarray
    ends: np.ndarray
    parts: list[Picked]
    order: np.ndarray
    codes: np.ndarray

    def chunk(self) -> Chunk:
        """The rows in order; lets other threads run while it copies."""
        rows = together(self.parts, self.order)
        rows = rows.append_column(difficulty_column(rows.schema.names), named_difficulties(self.codes))
        return Chunk(self.batches, self.ends, rows)


def gather(
    plan: EpochPlan,
    manifest: Manifest,
    reader: ShardReader,
    epoch: int,
    share: Share,
    columns: Sequence[str] | None = None,
) -> Iterator[Draft]:
    """The wanted rows of an epoch in order, with their difficulty as the last column; some thousand rows at a time.

    Padded slots repeat the chunk's first row with a null difficulty. Raises what the reader raises.
    """
    mix = plan.interleave(epoch)
    order: Order = "sample_id" if plan.shuffle == "full" else "row"
    locator = Locator(manifest, lambda shard: reader.open(manifest, shard).index, order)
    windows = [_Window(plan, locator, epoch, share, difficulty) for difficulty in range(3)]

    def pick(places: list[np.ndarray]) -> list[Picked]:
        return reader.pick_all(manifest, places, columns)

    each = max(share.high - share.low, 1)
    at_once = max(int(min(CHUNK_ROWS, CHUNK_BYTES / manifest.mean_row_bytes)) // each, 1)
    for begin in range(share.first, mix.num_batches, at_once * share.step * LAID_OUT):
        coming = share.batches(begin, min(begin + at_once * share.step * LAID_OUT, mix.num_batches))
        layout = mix.slices(coming, share.low, share.high)
        for first in range(0, len(coming), at_once):
            batches = coming[first : first + at_once]
            slots = Slots(*(column[first * each : (first + len(batches)) * each] for column in layout))
            sizes = np.full(len(batches), each, dtype=np.int64)
            sizes[-1] += len(slots.nth) - sizes.sum()
            parts, places = _fill(slots, windows, pick)
            if not parts:
                place = np.array([_any_place(manifest)] * min(len(places), 1), dtype=np.int64)
                parts = pick([place.reshape(-1, 2)])
            yield Draft(batches, np.cumsum(sizes), parts, places, slots.difficulty)


def _fill(
    slots: Slots, windows: list[_Window], pick: Callable[[list[np.ndarray]], list[Picked]]
) -> tuple[list[Picked], np.ndarray]:
    """The rows of some slots, and their order. Windows that move on at the same time are picked together."""
    chosen = [np.flatnonzero(slots.difficulty == difficulty) for difficulty in range(len(windows))]
    left, parts = [slots.nth[mine] for mine in chosen], [list[Picked]() for _ in windows]
    while True:
        for number, window in enumerate(windows):
            left[number] = window.hand_out(left[number], parts[number])
        moving = [window for window, nth in zip(windows, left, strict=True) if nth.size]
        if not moving:
            break
        places = [window.move(int(nth[0])) for window, nth in zip(windows, left, strict=True) if nth.size]
        for window, rows in zip(moving, pick(places), strict=True):
            window.picked = rows
    order = np.zeros(len(slots.nth), dtype=np.int64)
    laid = np.concatenate(chosen)
    order[laid] = np.arange(len(laid))
    return list(itertools.chain.from_iterable(parts)), order


def difficulty_column(names: Sequence[str]) -> str:
    """`difficulty`, unless the data has a column of that name: then `curriculum_difficulty`."""
    return "curriculum_difficulty" if "difficulty" in names else "difficulty"


def named_difficulties(codes: np.ndarray) -> pa.Array:
    """Codes uint8[m] as words, null for PADDING."""
    padded = codes == PADDING
    values = pa.array(codes.astype(np.int8), mask=padded) if padded.any() else arrow_ints(codes.astype(np.int8))
    return pa.DictionaryArray.from_arrays(values, arrow_words(NAMES))


def _any_place(manifest: Manifest) -> tuple[int, int]:
    return next((number, 0) for number, info in enumerate(manifest.shards) if info.rows)


class _Window:
    """The part of one difficulty's walk that is in memory: the wanted rows of one window, in `picked`."""

    def __init__(self, plan: EpochPlan, locator: Locator, epoch: int, share: Share, difficulty: int):
        self._locator, self._share, self._difficulty = locator, share, difficulty
        self._mix, self._walk = plan.interleave(epoch), plan.walks(epoch)[difficulty]
        self._low = self._high = 0
        self._nth = np.empty(0, dtype=np.int64)
        self.picked: Picked | None = None

    def hand_out(self, nth: np.ndarray, parts: list[Picked]) -> np.ndarray:
        """Adds the rows of the given places in the walk, rising, that are in memory to `parts`; the places left."""
        if self.picked is None or not nth.size or not self._low <= nth[0] < self._high:
            return nth
        here = int(np.searchsorted(nth, self._high))
        first = int(np.searchsorted(self._nth, nth[0]))
        assert np.array_equal(self._nth[first : first + here], nth[:here])
        parts.append(self.picked.slice(first, here))
        return nth[here:]

    def move(self, nth: int) -> np.ndarray:
        """Goes to the window that holds a place in the walk, from that place on: where its wanted rows lie."""
        self.picked = None  # the old window goes before the new one comes
        _, self._high = self._walk.window(nth)
        self._low = nth
        self._nth = self._wanted(nth)
        return self._locator.places(self._difficulty, self._walk.rows(self._nth))

    def _wanted(self, nth: int) -> np.ndarray:
        """The places of this share in the window, from one on: int64[m], rising."""
        if self._share.is_all(self._mix.batch_size):
            return np.arange(nth, self._high)
        begin = self._mix.batch_of(self._difficulty, nth)
        end = self._mix.batch_of(self._difficulty, self._high - 1) + 1
        slots = self._mix.slices(self._share.batches(begin, end), self._share.low, self._share.high)
        mine = (slots.difficulty == self._difficulty) & (slots.nth >= nth) & (slots.nth < self._high)
        return slots.nth[mine]

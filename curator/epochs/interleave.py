"""How the difficulties of one epoch lie among its positions: every global batch keeps the ratio to within one.

Maps a position to (difficulty, how many of that difficulty came before). Knows nothing of rows, shuffles or shards.

A batch holds the floor or the ceiling of its exact share of each difficulty. Which batches get the ceiling follows
from systematic sampling (Madow 1949) over a lattice of stride about G / golden ratio, so that the total over the
G full batches is exact and every prefix is close; counts before a batch are a floor sum, O(log G).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from curator.epochs.permutation import mix64

__all__ = ["PADDING", "Interleave", "Slots", "floor_sum"]

PADDING = 255
"""The difficulty code of a position that holds no row (tail policy `pad`)."""

Counts = tuple[int, int, int]


class Slots(NamedTuple):
    """Positions in order: difficulty uint8[m] (PADDING where empty), nth int64[m]: how many of that
    difficulty came before in the epoch (-1 where empty)."""

    difficulty: np.ndarray
    nth: np.ndarray


@dataclass(frozen=True)
class Interleave:
    """One epoch: `num_full` global batches of `batch_size`, holding `full` rows of each difficulty, then the tail.

    tail: rows of each difficulty in a last, shorter batch; zeros when there is none. padded: the tail batch is
    filled to `batch_size` with PADDING. key: 64 bits; turns the pattern from batch to batch.
    """

    batch_size: int
    num_full: int
    full: Counts
    tail: Counts
    padded: bool
    key: int

    @property
    def tail_rows(self) -> int:
        return sum(self.tail)

    @property
    def tail_slots(self) -> int:
        """Positions of the tail batch, padding included."""
        return (self.batch_size if self.padded else self.tail_rows) if self.tail_rows else 0

    @property
    def num_batches(self) -> int:
        return self.num_full + (self.tail_rows > 0)

    @property
    def length(self) -> int:
        """Positions in the epoch, padding included."""
        return self.num_full * self.batch_size + self.tail_slots

    def batch_rows(self, batch: int) -> int:
        """Positions in a global batch."""
        return self.batch_size if batch < self.num_full else self.tail_slots

    def before(self, batch: int) -> Counts:
        """Rows of each difficulty in the batches before this one."""
        if batch > self.num_full:
            return _sum(self.full, self.tail)
        if batch == 0:
            return (0, 0, 0)
        return _triple(base * batch + self._extras_before(d, batch) for d, base in enumerate(self._base))

    def batch_of(self, difficulty: int, index: int) -> int:
        """The batch that holds a difficulty's index-th row: the last one with `before` not above it."""
        low, high = 0, self.num_batches - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.before(middle)[difficulty] <= index else (low, middle - 1)
        return low

    def positions(self, start: int, stop: int) -> Slots:
        """The slots at positions [start, stop) of the epoch, O(stop - start + batch_size)."""
        if stop <= start:
            return _NOTHING
        first, last = start // self.batch_size, (stop - 1) // self.batch_size
        all_slots = self.slices(np.arange(first, last + 1), 0, self.batch_size)
        offset = first * self.batch_size
        return Slots(*(column[start - offset : stop - offset] for column in all_slots))

    def slices(self, batches: np.ndarray, low: int, high: int) -> Slots:
        """The slots [low, high) of each batch, batch after batch. batches: rising int64[m].

        In a short tail batch of t rows the slice shrinks in proportion: [t·low/B, t·high/B).
        """
        full = batches[batches < self.num_full]
        parts = [self._full_slices(full, low, high)] if full.size else []
        if full.size < batches.size:
            t, b = self.tail_slots, self.batch_size
            parts.append(self._tail_slice(t * low // b, t * high // b))
        if len(parts) == 1:
            return parts[0]
        return Slots(*(np.concatenate(columns) for columns in zip(_NOTHING, *parts, strict=True)))

    def _full_slices(self, batches: np.ndarray, low: int, high: int) -> Slots:
        span = np.arange(batches[0], batches[-1] + 1)
        extra = self._extras(span)
        counts = np.array(self._base) + extra
        starts = np.array(self.before(int(span[0]))) + np.cumsum(counts, axis=0) - counts
        if batches.size < span.size:
            chosen = batches - span[0]
            extra, starts, counts = extra[chosen], starts[chosen], counts[chosen]
        pattern_difficulty, pattern_nth, pattern_passed = self._patterns
        kind = extra @ np.array([1, 2, 4])
        turn = (mix64(batches.astype(np.uint64) ^ np.uint64(self.key)) % np.uint64(self.batch_size)).astype(np.int64)
        slot = np.arange(low, high) + turn[:, None]
        slot -= (slot >= self.batch_size) * self.batch_size
        slot += kind[:, None] * self.batch_size
        difficulty, nth = pattern_difficulty.take(slot), pattern_nth.take(slot)
        cell = difficulty + 3 * np.arange(len(batches))[:, None]  # a batch's row of counts, a difficulty's column
        passed = pattern_passed[kind, turn]  # rows in the part of the pattern that is turned away
        nth += ((nth < passed.take(cell)) * counts.take(cell)) + (starts - passed).take(cell)
        return Slots(difficulty.ravel(), nth.ravel())

    def _tail_slice(self, low: int, high: int) -> Slots:
        pattern = _pattern(self.tail)
        difficulty = np.full(self.tail_slots, PADDING, dtype=np.uint8)
        index = np.full(self.tail_slots, -1, dtype=np.int64)
        difficulty[: self.tail_rows] = pattern.difficulty
        index[: self.tail_rows] = pattern.nth + np.array(self.full)[pattern.difficulty]
        return Slots(difficulty[low:high], index[low:high])

    @cached_property
    def _base(self) -> Counts:
        """What every full batch holds at least."""
        return _triple(count // self.num_full if self.num_full else 0 for count in self.full)

    @cached_property
    def _patterns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A batch's pattern for each of the eight ways to hand out ceilings (kind k: bit d for difficulty d), laid end
        to end: difficulty uint8[8·B], nth int64[8·B], rows before each slot int64[8, B, 3]. Zeros for the kinds that
        do not occur: their rows are more or fewer than B.
        """
        difficulty, nth = np.zeros((8, self.batch_size), np.uint8), np.zeros((8, self.batch_size), np.int64)
        passed = np.zeros((8, self.batch_size, 3), np.int64)
        for kind in range(8):
            counts = _triple(base + (kind >> d & 1) for d, base in enumerate(self._base))
            if sum(counts) == self.batch_size:
                pattern = _pattern(counts)
                difficulty[kind], nth[kind], passed[kind] = pattern.difficulty, pattern.nth, _passed(pattern)
        return difficulty.ravel(), nth.ravel(), passed

    @cached_property
    def _arcs(self) -> tuple[tuple[int, int], ...]:
        """For each difficulty (begin, length) of its arc on the circle of G lattice points."""
        lengths = [count - base * self.num_full for count, base in zip(self.full, self._base, strict=True)]
        return tuple((sum(lengths[:d]), length) for d, length in enumerate(lengths))

    @cached_property
    def _stride(self) -> int:
        stride = int(self.num_full * 0.6180339887498949)
        while math.gcd(stride, self.num_full) != 1:
            stride += 1
        return stride

    def _extras(self, batches: np.ndarray) -> np.ndarray:
        """Which difficulties get their ceiling in each batch: int64[m, 3] of 0 and 1."""
        point = batches * self._stride % self.num_full
        return np.stack([(point - begin) % self.num_full < length for begin, length in self._arcs], axis=1).astype(int)

    def _extras_before(self, difficulty: int, batch: int) -> int:
        """How many of the batches before this one got the ceiling; O(log G)."""
        begin, length = self._arcs[difficulty]
        g, offset = self.num_full, -begin % self.num_full
        reached = floor_sum(batch, g, self._stride, offset)
        return reached - floor_sum(batch, g, self._stride, offset - length + g) + batch


_NOTHING = Slots(np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.int64))


@lru_cache(maxsize=64)
def _pattern(counts: Counts) -> Slots:
    """One batch's difficulties spread evenly: the i-th of c rows stands at (i + 1/2) / c of the way."""
    difficulty = np.repeat(np.arange(3, dtype=np.uint8), counts)
    index = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    place = (index + 0.5) / np.array(counts)[difficulty]
    order = np.lexsort((difficulty, place))
    return Slots(difficulty[order], index[order])


def _passed(pattern: Slots) -> np.ndarray:
    """Rows of each difficulty before each slot of a pattern: int64[m, 3]."""
    one_hot = np.eye(3, dtype=np.int64)[pattern.difficulty]
    return np.cumsum(one_hot, axis=0) - one_hot


def floor_sum(n: int, m: int, a: int, b: int) -> int:
    """The sum of (a·i + b) // m for i in [0, n), for n, a, b >= 0 and m > 0; Euclid's steps, O(log m)."""
    total = 0
    while n:
        total += (a // m) * (n * (n - 1) // 2) + (b // m) * n
        a, b = a % m, b % m
        reach = a * n + b
        n, b = divmod(reach, m)
        m, a = a, m
    return total


def _sum(a: Counts, b: Counts) -> Counts:
    return _triple(x + y for x, y in zip(a, b, strict=True))


def _triple(values: Iterable[int]) -> Counts:
    easy, medium, hard = values
    return easy, medium, hard

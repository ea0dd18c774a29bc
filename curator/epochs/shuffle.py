"""From "the i-th easy row of this epoch" to "the k-th easy row of the manifest": the three shuffles, as formulas.

Knows counts and keys, nothing of shards.

A difficulty's rows lie on a circle in a fixed random order (`base`); a cursor walks it, across epochs, so no row comes
back before all others were seen. Each epoch reorders its own stretch of the circle, separately on either side of
the point where a pass over the rows ends, so that epochs differ and the promise holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from curator.epochs.permutation import derive_key, mix64, permute

__all__ = ["Shuffle", "Stretch", "Walk"]

Shuffle = Literal["full", "window", "none"]


class Stretch(NamedTuple):
    """The part of an epoch's walk within one pass: indexes [begin, begin + length), from `offset` on the circle."""

    begin: int
    length: int
    offset: int
    turn: int


@dataclass(frozen=True)
class Walk:
    """One difficulty in one epoch: `count` rows from circle position `cursor` on, out of `num_rows`.

    circle_key: 64 bits, the same in every epoch; epoch_key: another every epoch. block_rows, window_blocks: of the
    window shuffle: blocks of consecutive rows are permuted, then rows within windows of that many blocks.
    """

    shuffle: Shuffle
    num_rows: int
    cursor: int
    count: int
    circle_key: int
    epoch_key: int
    block_rows: int
    window_blocks: int

    @property
    def window_rows(self) -> int:
        return self.block_rows * self.window_blocks

    def rows(self, index: np.ndarray) -> np.ndarray:
        """The row of each index: int64[m] in [0, count) to int64[m] in [0, num_rows)."""
        out = np.empty(len(index), dtype=np.int64)
        turn = (index + self.cursor) // self.num_rows - self.cursor // self.num_rows
        first, last = (int(turn.min()), int(turn.max())) if turn.size else (0, -1)
        if first == last:
            return self._in_stretch(index, self._stretch(first))
        for number in range(first, last + 1):
            chosen = np.flatnonzero(turn == number)
            if chosen.size:
                out[chosen] = self._in_stretch(index[chosen], self._stretch(number))
        return out

    def window(self, index: int) -> tuple[int, int]:
        """The indexes [low, high) that share a window with this one: what a reader gathers together."""
        stretch = self._stretch((index + self.cursor) // self.num_rows - self.cursor // self.num_rows)
        low = stretch.begin + (index - stretch.begin) // self.window_rows * self.window_rows
        return low, min(low + self.window_rows, stretch.begin + stretch.length)

    def _stretch(self, turn: int) -> Stretch:
        first = self.cursor // self.num_rows + turn  # which pass over the rows
        begin = max(first * self.num_rows - self.cursor, 0)
        end = min((first + 1) * self.num_rows - self.cursor, self.count)
        return Stretch(begin, end - begin, (self.cursor + begin) % self.num_rows, turn)

    def _in_stretch(self, index: np.ndarray, stretch: Stretch) -> np.ndarray:
        place = index - stretch.begin
        if self.shuffle == "none":
            return place + stretch.offset
        key = derive_key(self.epoch_key, stretch.turn)
        if self.shuffle == "full":
            return permute(stretch.offset + permute(place, stretch.length, key), self.num_rows, self.circle_key)
        place = _within_windows(place, stretch.length, self.window_rows, derive_key(key, "rows"))
        return self._moved(place, stretch, derive_key(key, "blocks"))

    def _moved(self, place: np.ndarray, stretch: Stretch, key: int) -> np.ndarray:
        """Whole blocks permuted within the stretch, then, counted from its offset, on the circle."""
        size = self.block_rows
        block = place // size
        low, high = int(block.min()), int(block.max()) + 1
        if high - low >= len(block):
            place = _blocks(place, stretch.length, size, key)
            return _blocks(place + stretch.offset, self.num_rows, size, self.circle_key)
        # neighbours share blocks: permute each block, and the two on the circle that it covers, once
        within = place - block * size + stretch.offset % size
        target = _block_targets(np.arange(low, high), stretch.length // size, key) + stretch.offset // size
        both = [_block_targets(target + after, self.num_rows // size, self.circle_key) - after for after in (0, 1)]
        which = block - low + (within >= size) * len(target)
        return (np.concatenate(both) * size)[which] + within


def _block_targets(block: np.ndarray, num_blocks: int, key: int) -> np.ndarray:
    """Where blocks go; those from num_blocks on stay."""
    out = block.copy()
    moved = block < num_blocks
    out[moved] = permute(block[moved], num_blocks, key)
    return out


def _blocks(place: np.ndarray, n: int, block_rows: int, key: int) -> np.ndarray:
    """Permutes whole blocks of [0, n); a shorter last block stays last."""
    block = place // block_rows
    return place + (_block_targets(block, n // block_rows, key) - block) * block_rows


def _within_windows(place: np.ndarray, n: int, window_rows: int, key: int) -> np.ndarray:
    """Permutes [0, n) within consecutive windows; the last window may be shorter."""
    window = place // window_rows
    low, high = int(window.min()), int(window.max())
    if high - low < 16:  # few windows: one key at a time is cheaper than a key an element
        keys = _window_keys(np.arange(low, high + 1), key).tolist()
        if low == high:
            return _in_window(place, low, n, window_rows, keys[0])
        out = np.empty_like(place)
        for number, mine in enumerate(keys, low):
            chosen = np.flatnonzero(window == number)
            if chosen.size:
                out[chosen] = _in_window(place[chosen], number, n, window_rows, mine)
        return out
    start = window * window_rows
    keys = _window_keys(window, key)
    out = place.copy()
    whole = start + window_rows <= n
    for part, size in ((whole, window_rows), (~whole, n % window_rows)):
        if part.any():
            out[part] = start[part] + permute((place - start)[part], size, keys[part])
    return out


def _in_window(place: np.ndarray, number: int, n: int, window_rows: int, key: int) -> np.ndarray:
    """Permutes places that all lie in one window."""
    start = number * window_rows
    return start + permute(place - start, min(n - start, window_rows), key)


def _window_keys(window: np.ndarray, key: int) -> np.ndarray:
    """A key for each window: uint64[m]."""
    return mix64(window.astype(np.uint64) ^ np.uint64(key))

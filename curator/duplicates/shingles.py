"""The set of a text's shingles, small enough to be kept, by which two texts are compared.

A shingle is a few words in a row, hashed to 32 bits. A set is a byte that says to how many bits its hashes are cut, at
least 16 and so many that there are 64 values for each of them, and then the gaps between the ascending cut hashes,
seven bits a byte, low ones first (LEB128): a byte and a quarter a shingle. Hashes that fall together when cut stay
apart. So none that both sets have is counted twice; one that only the first has passes for one that only the second has
where they are alike to the bits kept: at similarity 0.8, in one pair in eight of texts of 800 shingles, which moves it
by 0.002. Knows words' hashes; nothing of signatures or files.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import inner, kernel

__all__ = ["MOST_BYTES", "ascending", "factors", "overlap", "shingle_hashes", "write_set"]

MOST_BYTES: Final = 3
"""Of a set a shingle, beside the first byte and one that is written over: gaps of 16 bits take three, and wide ones are
few in a larger set."""

_MOST_MOVES: Final = 16
"""A hash: more is no chance, but a text made so that its hashes crowd."""
_SEED = np.uint32(0x2545F491)
_U0, _U1, _U7, _U16, _U24, _U256 = (np.uint64(k) for k in (0, 1, 7, 16, 24, 256))
_BYTE, _SEVEN, _MORE, _WIDE = (np.uint64(k) for k in (255, 127, 128, 1 << 14))
_END: Final = np.int64(1) << np.int64(40)
"""Beyond every hash."""


def factors(ngram: int) -> np.ndarray:
    """Odd uint32[ngram], one for each place in a shingle."""
    draws = np.random.Generator(np.random.PCG64([ngram, 0x73686E67])).integers(0, 2**32, ngram, np.uint32)
    return draws | np.uint32(1)


@kernel
def shingle_hashes(words, num_words, ngram, factors, out):
    """Fills each shingle's hash, the mixed sum of its words' hashes times odd factors; returns their number."""
    count = max(num_words - ngram + 1, 1) if num_words else 0
    out[:count] = _SEED
    for k in range(min(ngram, num_words)):
        factor, shifted = factors[k], words[k:]
        for first in range(count):
            out[first] = np.uint32(out[first] + np.uint32(shifted[first] * factor))
    for first in range(count):
        h = out[first]
        h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        out[first] = np.uint32(h ^ np.uint32(h >> np.uint32(16)))
    return count


@kernel
def ascending(hashes, count, spare, places):
    """Sorts the first `count` hashes, each once; returns how many they are then. spare: room for as many. places:
    uint64[512], scratch.

    Two passes over the bytes that set most hashes apart, low one first; the few that they do not are put in place.
    """
    places[:] = _U0
    for at in range(count):
        h = np.uint64(hashes[at])
        places[(h >> _U16) & _BYTE] += _U1
        places[_U256 + (h >> _U24)] += _U1
    low, high = _U0, _U0
    for digit in range(256):
        places[digit], low = low, low + places[digit]
        places[256 + digit], high = high, high + places[256 + digit]
    for at in range(count):
        digit = (np.uint64(hashes[at]) >> _U16) & _BYTE
        spare[places[digit]] = hashes[at]
        places[digit] += _U1
    for at in range(count):
        digit = _U256 + (np.uint64(spare[at]) >> _U24)
        hashes[places[digit]] = spare[at]
        places[digit] += _U1
    return _inserted(hashes, count)


@inner
def _inserted(hashes, count):
    """Sorts hashes that lie near their places, each once; returns how many they are then."""
    kept, moved = 0, 0
    for at in range(count):
        h = hashes[at]
        to = kept
        while to > 0 and hashes[to - 1] > h:
            to -= 1
        if to > 0 and hashes[to - 1] == h:
            moved += kept - to
            continue
        if moved > _MOST_MOVES * count:
            return _sorted(hashes, kept, at, count)
        for k in range(kept, to, -1):
            hashes[k] = hashes[k - 1]
        hashes[to] = h
        moved += kept - to
        kept += 1
    return kept


@inner
def _sorted(hashes, kept, at, count):
    """Sorts the first `kept` hashes and those from `at` on, each once; returns how many they are then."""
    total = kept + count - at
    for k in range(kept, total):
        hashes[k] = hashes[at + k - kept]
    _heapsort(hashes, total)
    kept = 1
    for k in range(1, total):
        if hashes[k] != hashes[kept - 1]:
            hashes[kept] = hashes[k]
            kept += 1
    return kept


@inner
def _heapsort(hashes, count):
    """In place, ascending, for what is hardly ever asked for: numba's own sort compiles longer than all else here."""
    for root in range(count // 2 - 1, -1, -1):
        _sink(hashes, root, count)
    for last in range(count - 1, 0, -1):
        hashes[0], hashes[last] = hashes[last], hashes[0]
        _sink(hashes, 0, last)


@inner
def _sink(hashes, root, count):
    """Moves a hash down the heap of the first `count` until none below it is larger."""
    child = 2 * root + 1
    while child < count:
        if child + 1 < count and hashes[child] < hashes[child + 1]:
            child += 1
        if hashes[root] >= hashes[child]:
            return
        hashes[root], hashes[child] = hashes[child], hashes[root]
        root = child
        child = 2 * root + 1


@kernel
def write_set(hashes, count, out, at):
    """Writes the set of ascending hashes from `at` on; returns where it ends. No hashes, no bytes."""
    if count == 0:
        return at
    bits = 16
    while bits < 32 and (count << 6) > (1 << bits):
        bits += 1
    out[at] = bits
    at += 1
    cut, last = np.uint64(32 - bits), _U0
    for k in range(count):
        value = np.uint64(hashes[k]) >> cut
        gap, last = value - last, value
        while gap >= _WIDE:
            out[at] = np.uint8((gap & _SEVEN) | _MORE)
            at += 1
            gap >>= _U7
        more = np.uint64(gap > _SEVEN)  # one byte or two without a jump that cannot be foreseen
        out[at] = np.uint8((gap & _SEVEN) | (more << _U7))
        out[at + 1] = np.uint8(gap >> _U7)
        at += 1 + np.int64(more)
    return at


@kernel
def overlap(x, at, end, y, by, stop):
    """(shingles that both sets have, that either has): sets x[at:end] and y[by:stop]."""
    if at == end or by == stop:
        return 0, 0
    bits = min(x[at], y[by])
    cut_x, cut_y = np.int64(x[at] - bits), np.int64(y[by] - bits)
    a, at = _next(x, at + 1, end, np.int64(0))
    b, by = _next(y, by + 1, stop, np.int64(0))
    both, either = 0, 0
    while a != _END or b != _END:
        either += 1
        mine, yours = a >> cut_x, b >> cut_y
        if mine <= yours:
            a, at = _next(x, at, end, a)
        if yours <= mine:
            b, by = _next(y, by, stop, b)
        both += mine == yours
    return both, either


@kernel
def _next(data, at, end, value):
    """(the hash after `value`, where the one after it begins)."""
    if at == end:
        return _END, at
    byte = np.int64(data[at])
    gap, shift = byte & 127, 7
    while byte >= 128:
        at += 1
        byte = np.int64(data[at])
        gap |= (byte & 127) << shift
        shift += 7
    return value + gap, at + 1

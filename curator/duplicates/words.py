"""The words of a text as 32-bit hashes, 64 bytes at a time where they are ASCII.

A word is a run of letters, marks and digits, ASCII capitals folded; characters of scripts written without spaces are
words of their own. Knows bytes and character classes; nothing of shingles or signatures.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import numpy as np

from curator.signals.text.bytescan import E0, E1, E8, HIGHS, ONES, code_point, inner, kernel, load_word, popcount
from curator.signals.text.unicode import SOLO, WORD

__all__ = ["word_hashes"]

U = np.uint64
_PRIME = U(0x9E3779B97F4A7C15)
_BLOCK = U(64)
_ALL = ~E0
_CASE = ONES * U(0x20)
_PACK = U(0x0102040810204080)
_TO_A, _PAST_Z = ONES * U(0x80 - 0x61), ONES * U(0x80 - 0x7B)
_TO_0, _PAST_9 = ONES * U(0x80 - 0x30), ONES * U(0x80 - 0x3A)


@kernel
def word_hashes(data, start, stop, classes, bounds, words):
    """Fills uint32 hashes of the words in bytes start..stop; returns their number.

    bounds: uint64 scratch for twice as many numbers as words. Both must hold a word for every byte.
    """
    count = _bounds(data, start, stop, classes, bounds)
    for word in range(count):
        at, end = bounds[2 * word], bounds[2 * word + 1]
        h = _mixed(_folded(load_word(data, at, end)))
        at += E8
        while at < end:
            h = _mixed(h ^ _folded(load_word(data, at, end)))
            at += E8
        words[word] = np.uint32(h >> U(32))
    return count


@inner
def _folded(word):
    """Bytes of a word with ASCII capitals in lower case (which sets a bit that digits have); bytes beyond stay."""
    return word | ((~word & HIGHS) >> U(2))


@inner
def _mixed(h):
    h = (h ^ (h >> U(32))) * _PRIME
    h = (h ^ (h >> U(29))) * _PRIME
    return h


@inner
def _bounds(data, start, stop, classes, bounds):
    """Fills where each word begins and ends; returns the number of words."""
    filled = 0
    at = start
    inside = E0  # 1: the byte before belongs to a word that may go on
    while at < stop:
        if stop - at >= _BLOCK:
            beyond = _beyond(data, at)
            members = _members(data, at)
            width = popcount((beyond - E1) & ~beyond)  # bytes before the first that is not ASCII
            mine = _ALL if width == _BLOCK else (E1 << width) - E1
            turns = (members ^ ((members << E1) | inside)) & mine
            while turns != E0:
                bounds[filled] = at + popcount((turns - E1) & ~turns)
                filled += 1
                turns &= turns - E1
            if width != E0:
                inside = (members >> (width - E1)) & E1
            at += width
            until = at
        else:
            until = stop
        while at < stop and (at < until or data[at] >= 0x80):
            at, filled, inside = _character(data, at, stop, classes, bounds, filled, inside)
    if inside != E0:
        bounds[filled] = stop
        filled += 1
    return filled // 2


@inner
def _beyond(data, at):
    """One bit for each of 64 bytes: whether it is not ASCII."""
    seen = E0
    for k in range(8):
        seen |= load_word(data, at + U(8 * k), at + _BLOCK)
    if seen & HIGHS == E0:
        return E0
    bits = E0
    for k in range(8):
        bits |= _packed(load_word(data, at + U(8 * k), at + _BLOCK) & HIGHS) << U(8 * k)
    return bits


@inner
def _members(data, at):
    """One bit for each of 64 bytes: whether it is an ASCII letter or digit; right up to the first that is not ASCII."""
    bits = E0
    for k in range(8):
        raw = load_word(data, at + U(8 * k), at + _BLOCK) & ~HIGHS
        low = raw | _CASE
        flags = ((low + _TO_A) & ~(low + _PAST_Z)) | ((raw + _TO_0) & ~(raw + _PAST_9))
        bits |= _packed(flags & HIGHS) << U(8 * k)
    return bits


@inner
def _packed(flags):
    """The high bits of eight bytes as one byte, the first byte's lowest."""
    return ((flags >> U(7)) * _PACK) >> U(56)


@inner
def _character(data, at, stop, classes, bounds, filled, inside):
    """One character of any script; (where it ends, bounds filled, whether a word goes on)."""
    cp, width = code_point(data, at)
    kind = classes[cp]
    belongs = (kind & WORD) != 0
    solo = belongs and (kind & SOLO) != 0
    if inside != E0 and (solo or not belongs):
        bounds[filled] = at
        filled += 1
        inside = E0
    if belongs and inside == E0:
        bounds[filled] = at
        filled += 1
        inside = E1
    at = min(at + width, stop)
    if solo:
        bounds[filled] = at
        filled += 1
        inside = E0
    return at, filled, inside

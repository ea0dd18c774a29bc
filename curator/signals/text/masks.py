"""Sixty-four bytes at a time: which of them lie in a range, as the bits of a word; and where words and lines lie.

The compiler turns a mask into a handful of vector instructions, so that finding every border costs less than a memory
read, and whoever walks them takes one step a word instead of one a byte. Knows bytes; nothing of what words mean.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from curator.signals.text.bytescan import E0, E1, inlined, inner, popcount, space_width, trailing_zeros

__all__ = ["BLOCK", "HALF_BLOCK", "find_words", "other_than_letters", "range_mask"]

BLOCK = np.uint64(64)
HALF_BLOCK = np.uint64(32)
_LAST = np.uint64(63)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def _masker(lanes, word):
    """An intrinsic (data, at, low, size, fold) -> `word` of as many bits as lanes."""

    @intrinsic
    def mask(typing_context, array, index, low, size, fold):
        def generate(context, builder, signature, arguments):
            view = context.make_array(array)(context, builder, arguments[0])
            vector = ir.VectorType(ir.IntType(8), lanes)
            pointer = builder.bitcast(builder.gep(view.data, [arguments[1]]), vector.as_pointer())
            value = builder.load(pointer)
            value.align = 1

            def splat(scalar):
                nothing = ir.Constant(vector, ir.Undefined)
                one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
                return builder.shuffle_vector(
                    one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
                )

            value = builder.or_(value, splat(arguments[4]))
            inside = builder.icmp_unsigned("<", builder.sub(value, splat(arguments[2])), splat(arguments[3]))
            return builder.bitcast(inside, ir.IntType(lanes))

        return word(array, types.uint64, types.uint8, types.uint8, types.uint8), generate

    return mask


_mask64, _mask32 = _masker(64, types.uint64), _masker(32, types.uint32)


@inlined
def range_mask(data, at, low, size, fold):
    """Bit k: byte at + k, or-ed with `fold`, is `low` or one of the size - 1 bytes after it; 0 beyond the data.

    low, size, fold: int constants below 256; a fold of 0x20 makes ASCII capitals small.
    """
    if at + BLOCK <= np.uint64(data.size):
        return _mask64(data, at, np.uint8(low), np.uint8(size), np.uint8(fold))
    return _mask_at_end(data, at, low, size, fold)


@inner
def _mask_at_end(data, at, low, size, fold):
    """`range_mask` of the last bytes of the data."""
    found = E0
    for k in range(np.int64(data.size) - np.int64(at)):
        byte = np.uint8(data[at + np.uint64(k)] | np.uint8(fold)) - np.uint8(low)
        if np.uint8(byte) < np.uint8(size):
            found |= E1 << np.uint64(k)
    return found


@inlined
def other_than_letters(data, at):
    """Bit k: byte at + k is no ASCII letter. All of the 32 bytes from `at` on must be in the data."""
    return np.uint64(~_mask32(data, at, np.uint8(0x61), np.uint8(26), np.uint8(0x20)))


@inner
def _wide_spaces(data, at, stop, spaces):
    """Adds the whitespace beyond ASCII that begins in the block at `at`; returns (mask, its bits in the next block)."""
    leads = range_mask(data, at, 0xC2, 1, 0) | range_mask(data, at, 0xE1, 3, 0)
    over = E0
    while leads:
        k = trailing_zeros(leads)
        leads &= leads - E1
        if at + k < stop:
            width = space_width(data, at + k, stop)
            if width != E0:
                bits = (E1 << width) - E1
                spaces |= bits << k
                if k + width > BLOCK:
                    over = bits >> (BLOCK - k)
    return spaces, over


@inner
def find_words(data, start, stop, begins, ends, newlines, words_before):
    """Fills the bounds of the words (runs of non-whitespace, as `str.split` finds them) and of the lines between "\\n".

    newlines[k] is where line k ends: at a newline, the last one at `stop`; words_before[k] counts the words that begin
    before it. Returns (words, lines).
    """
    words = ended = lines = 0
    before = E1  # whether the byte before this block is whitespace
    over = E0
    at = start
    while at < stop:
        spaces = range_mask(data, at, 9, 5, 0) | range_mask(data, at, 28, 5, 0) | over
        over = E0
        if range_mask(data, at, 0x80, 0x80, 0):
            spaces, over = _wide_spaces(data, at, stop, spaces)
        breaks = range_mask(data, at, 10, 1, 0)
        left = stop - at
        if left < BLOCK:
            beyond = _ALL << left
            spaces |= beyond
            breaks &= ~beyond
        shifted = (spaces << E1) | before
        before = spaces >> _LAST
        first = ~spaces & shifted
        while breaks:
            k = trailing_zeros(breaks)
            breaks &= breaks - E1
            newlines[lines] = at + k
            words_before[lines] = words + np.int64(popcount(first & ((E1 << k) - E1)))
            lines += 1
        last = spaces & ~shifted
        while first:
            begins[words] = at + trailing_zeros(first)
            words += 1
            first &= first - E1
        while last:
            ends[ended] = at + trailing_zeros(last)
            ended += 1
            last &= last - E1
        at += BLOCK
    if ended < words:
        ends[ended] = stop
    newlines[lines] = stop
    words_before[lines] = words
    return words, lines + 1

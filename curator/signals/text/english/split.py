"""One run of non-whitespace cut into tokens by the rules. Slow, a character at a time: a memo stands before it.

Prefixes and suffixes are cut off in turn until an exception or nothing is left to cut; what remains is one token if it
is an exception or an address, else it is cut at its infixes; at last pieces that together are an exception ("):" of
"foo):") are joined again. Knows rules; nothing of texts or counts.

Room for a run of up to n characters is an int64[4, n + 1], by row: the characters (code point, flags above it), where
each begins in bytes, and twice where tokens begin, in characters.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import E0, E1, code_point, hash_bytes, inlined, inner
from curator.signals.text.english.address import is_address
from curator.signals.text.english.classes import (
    ALPHA,
    CURRENCY,
    DIGIT,
    HYPHEN,
    ICON,
    INFIX,
    KIND_SHIFT,
    LOWER,
    PREFIX,
    QUOTE,
    STOPPABLE,
    SUFFIX,
    UPPER,
)
from curator.signals.text.english.lexicon import LONGEST_EXCEPTION, MOST_PARTS, PARTS, UNIT, known

__all__ = ["CUTS", "PLACES", "SIGNS", "new_run", "split_run"]

SIGNS: Final = 0
PLACES: Final = 1
CUTS: Final = 2
_SPARE: Final = 3

_CHAR = (1 << KIND_SHIFT) - 1
_DOT, _DASH, _PLUS, _STAR, _CARET, _COMMA, _DOLLAR = 46, 45, 43, 42, 94, 44, 36
_ELLIPSIS, _LONG_DASH, _DEGREE = 0x2026, 0x2014, 0xB0
_MOST_JOINED = 5
"""Pieces that may make one exception."""
_MOST_UNIT = 4
_BYTE = np.uint64(255)
_EIGHT = np.uint64(8)


def new_run(size: int) -> np.ndarray:
    return np.empty((4, size + 1), np.int64)


@inlined
def _char(run, at):
    return run[SIGNS, at] & _CHAR


@inlined
def _is(run, at, flags):
    return ((run[SIGNS, at] >> KIND_SHIFT) & flags) != 0


@inlined
def _decode(data, begin, end, classes, run):
    """Fills signs and places; returns the number of characters."""
    count = 0
    at = begin
    while at < end:
        cp, width = np.int64(data[at]), E1
        if cp > 0x7F:
            cp, width = code_point(data, at)
        run[SIGNS, count] = cp | (np.int64(classes[cp]) << KIND_SHIFT)
        run[PLACES, count] = np.int64(at)
        count += 1
        at += width
    run[PLACES, count] = np.int64(end)
    return count


@inlined
def _parts(data, run, first, last, lexicon):
    begin, end = np.uint64(run[PLACES, first]), np.uint64(run[PLACES, last])
    return known(hash_bytes(data, begin, end), lexicon) & PARTS


@inlined
def _exception(data, run, first, last, lexicon, edges):
    """The parts of the exception that characters first..last are; 0 for none. Most are told by their edges."""
    begin, end = run[PLACES, first], run[PLACES, last]
    if end - begin > LONGEST_EXCEPTION or not edges[256 * np.int64(data[begin]) + np.int64(data[end - 1])]:
        return E0
    return _parts(data, run, first, last, lexicon)


@inlined
def _dots(run, at, last):
    """How many full stops follow each other from `at` on."""
    stop = at
    while stop < last and _char(run, stop) == _DOT:
        stop += 1
    return stop - at


@inlined
def _has_dot(run, first, last):
    dots = 0
    for at in range(first, last):
        dots += _char(run, at) == _DOT
    return dots > 0


@inlined
def _prefix(run, first, last):
    """Characters that are cut off the beginning of first..last."""
    char, size = _char(run, first), last - first
    if _is(run, first, PREFIX):
        return 0 if char == _PLUS and size > 1 and _is(run, first + 1, DIGIT) else 1
    if size < 2:
        return 0
    if char == _DOT:
        dots = _dots(run, first, last)
        return dots if dots > 1 else 0
    following = _char(run, first + 1)
    if following == _DOLLAR and (char == 67 or char == 65):  # C$, A$
        return 2
    return 3 if size > 2 and char == 85 and following == 83 and _char(run, first + 2) == _DOLLAR else 0  # US$


@inlined
def _stop_goes(run, first, at):
    """Whether the single full stop at `at`, the last of its run, is cut off what lies before it from `first` on."""
    if _is(run, at - 1, STOPPABLE):
        return True
    if at - 1 == first:
        return False
    scale = _char(run, at - 1) | 0x20
    if _char(run, at - 2) == _DEGREE and (scale == 99 or scale == 102 or scale == 107):  # C, F, K
        return True
    return _is(run, at - 1, UPPER) and _is(run, at - 2, UPPER)


@inlined
def _suffix(data, run, first, last, lexicon):
    """Characters that are cut off the end of first..last, as many as any rule says."""
    if first >= last:
        return 0
    end = last - 1
    char = _char(run, end)
    cut = 1 if _is(run, end, SUFFIX) else 0
    if end == first:
        return cut
    before = _char(run, end - 1)
    if char == _DOT:
        if before == _DOT:
            cut = 2
            while end - cut >= first and _char(run, end - cut) == _DOT:
                cut += 1
        elif _stop_goes(run, first, end):
            cut = 1
    elif char == _ELLIPSIS and before == _ELLIPSIS:  # noqa: SIM114
        cut = 2
    elif (char == 115 or char == 83) and (before == 39 or before == 0x2019):  # 's
        cut = 2
    elif _is(run, end - 1, DIGIT) and (char == _PLUS or _is(run, end, CURRENCY)):
        cut = 1
    for size in range(1, min(_MOST_UNIT, end - first) + 1):
        if _is(run, end - size, DIGIT) and size >= cut:
            unit = hash_bytes(data, np.uint64(run[PLACES, last - size]), np.uint64(run[PLACES, last]))
            if known(unit, lexicon) & UNIT:
                cut = size
    return cut


@inlined
def _infix(run, at, first, last):
    """Characters of the infix that begins at `at` in first..last; 0 for none. Only at INFIX characters there may be."""
    char = _char(run, at)
    if char == _DOT:
        dots = _dots(run, at, last)
        if dots > 1:
            return dots
    if char == _ELLIPSIS or _is(run, at, ICON):
        return 1
    if at == first or at + 1 >= last:
        return 0
    following = _char(run, at + 1)
    sum_sign = char in (_PLUS, _DASH, _STAR, _CARET)
    if sum_sign and _is(run, at - 1, DIGIT) and (_is(run, at + 1, DIGIT) or following == _DASH):
        return 1
    if char == _DOT:
        return 1 if _is(run, at - 1, LOWER | QUOTE) and _is(run, at + 1, UPPER | QUOTE) else 0
    if char == _COMMA:
        return 1 if _is(run, at - 1, ALPHA) and _is(run, at + 1, ALPHA) else 0
    if not _is(run, at - 1, ALPHA | DIGIT):
        return 0
    if _is(run, at, HYPHEN):
        size = 1
        longest = 3 if char == _DASH else 2 if char == _LONG_DASH else 1
        while size < longest and at + size < last and _char(run, at + size) == char:
            size += 1
        return size if at + size < last and _is(run, at + size, ALPHA) else 0
    sign = char == 58 or char == 60 or char == 62 or char == 61 or char == 47  # : < > = /
    return 1 if sign and _is(run, at + 1, ALPHA) else 0


@inlined
def _cut_infixes(run, first, last, count):
    """Adds the tokens of first..last, parted at infixes; returns their number with those before."""
    run[CUTS, count] = first
    count += 1
    at = begun = first
    while at < last:
        size = _infix(run, at, first, last) if _is(run, at, INFIX) else 0
        if size and at > first:
            if at != begun:
                run[CUTS, count] = at
                count += 1
            at += size
            begun = at
            if at < last:
                run[CUTS, count] = at
                count += 1
        else:
            at += max(size, 1)
    return count


@inlined
def _add_parts(run, row, count, first, parts):
    """Adds the tokens of the exception that begins at character `first`; returns their number with those before."""
    char, byte = first, run[PLACES, first]
    for _ in range(MOST_PARTS):
        if parts:
            run[row, count] = char
            count += 1
            byte += np.int64(parts & _BYTE)
            parts >>= _EIGHT
            while run[PLACES, char] < byte:
                char += 1
    return count


@inlined
def _join(data, run, count, lexicon, edges):
    """Pieces that together are an exception become its tokens, the longest first; returns how many are left."""
    kept = at = 0
    while at < count:
        parts, taken = E0, 1
        for stop in range(at + 2, min(count, at + _MOST_JOINED) + 1):
            found = _exception(data, run, run[CUTS, at], run[CUTS, stop], lexicon, edges)
            if found:
                parts, taken = found, stop - at
        if parts:
            kept = _add_parts(run, _SPARE, kept, run[CUTS, at], parts)
        else:
            run[_SPARE, kept] = run[CUTS, at]
            kept += 1
        at += taken
    run[_SPARE, kept] = run[CUTS, count]
    for k in range(kept + 1):
        run[CUTS, k] = run[_SPARE, k]
    return kept


@inner
def split_run(data, begin, end, classes, lexicon, edges, run):
    """Cuts the bytes begin..end; token k is characters run[CUTS, k]..run[CUTS, k + 1]. Returns the number of tokens."""
    chars = _decode(data, begin, end, classes, run)
    first, last, size, count, tails = 0, chars, -1, 0, 0
    while first < last and last - first != size:
        if _exception(data, run, first, last, lexicon, edges):
            break
        size = last - first
        prefix = _prefix(run, first, last)
        if 0 < prefix < size and _exception(data, run, first + prefix, last, lexicon, edges):
            run[CUTS, count] = first
            count, first = count + 1, first + prefix
            break
        suffix = _suffix(data, run, first + prefix, last, lexicon)
        whole = 0 < suffix < size and _exception(data, run, first, last - suffix, lexicon, edges) != E0
        if suffix:
            last -= suffix
            run[_SPARE, tails] = last
            tails += 1
        if whole:
            break
        if prefix:
            run[CUTS, count] = first
            count, first = count + 1, first + prefix
    if first < last:
        parts = _exception(data, run, first, last, lexicon, edges)
        if parts:
            count = _add_parts(run, CUTS, count, first, parts)
        elif _has_dot(run, first, last) and is_address(run[SIGNS], first, last):
            run[CUTS, count] = first
            count += 1
        else:
            count = _cut_infixes(run, first, last, count)
    while tails:
        tails -= 1
        run[CUTS, count] = run[_SPARE, tails]
        count += 1
    run[CUTS, count] = chars
    return _join(data, run, count, lexicon, edges) if count > 1 else count

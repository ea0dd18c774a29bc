"""Words, one after the other: runs of non-whitespace, exactly those of `str.split`.

A byte at a time: words are too short for wider steps to pay. Knows what a word is made of; nothing of what is counted.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import E0, E1, inner, lean, space_width

__all__ = ["DIGIT", "HIGH", "LETTER", "most_words", "next_word"]

LETTER: Final = 1  # an ASCII letter
DIGIT: Final = 2  # an ASCII digit
HIGH: Final = 4  # a byte of a character beyond ASCII
_SPACE: Final = 8  # ASCII whitespace
_LEAD: Final = 16  # may begin whitespace beyond ASCII

_KINDS = np.zeros(256, np.uint8)
_KINDS[[byte for byte in range(128) if chr(byte).isspace()]] = _SPACE
_KINDS[[byte for byte in range(128) if chr(byte).isalpha()]] = LETTER
_KINDS[0x30:0x3A] = DIGIT
_KINDS[0x80:] = HIGH
_KINDS[[0xC2, 0xE1, 0xE2, 0xE3]] |= _LEAD


@inner
def next_word(data, at, stop):
    """(begin, end, kinds of bytes in it) of the next word at or after `at`; begin == stop where there is none."""
    while at < stop:
        kind = _KINDS[data[at]]
        if kind & _SPACE:
            at += E1
        elif kind & _LEAD:
            width = space_width(data, at, stop)
            if width == E0:
                break
            at += width
        else:
            break
    begin = at
    kinds = np.uint8(0)
    while at < stop:
        kind = _KINDS[data[at]]
        if kind & (_SPACE | _LEAD) and (kind & _SPACE or space_width(data, at, stop) != E0):
            break
        kinds |= kind
        at += E1
    return begin, at, kinds


@lean
def most_words(data, offsets):
    """No row has more words than this; quick to count, at most a few times too high."""
    most = 0
    for row in range(offsets.size - 1):
        breaks = 0
        for byte in data[offsets[row] : offsets[row + 1]]:
            breaks += (byte <= 32) | ((byte >= 0xC2) & (byte <= 0xE3))
        most = max(most, breaks + 1)
    return most

"""Character classes of Unicode as one table of bit flags, built once per process from `unicodedata`.

Knows code points; nothing of text or signals.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

import numpy as np

__all__ = [
    "ALPHA",
    "DAMAGE",
    "DIGIT",
    "LAST_ASSIGNED",
    "SOLO",
    "SPACE",
    "SYMBOL",
    "TERMINAL",
    "TERMINAL_PUNCTUATION",
    "UPPER",
    "WORD",
    "char_classes",
]

ALPHA: Final = 1  # str.isalpha
DIGIT: Final = 2  # str.isdecimal
UPPER: Final = 4  # str.isupper
SPACE: Final = 8  # str.isspace
SYMBOL: Final = 16  # categories P* and S*
DAMAGE: Final = 32  # control characters that are not whitespace, and private use
WORD: Final = 64  # letters, marks, numbers
SOLO: Final = 128  # characters of scripts written without spaces: each counts as a word of its own
TERMINAL: Final = 256  # ends a sentence

TERMINAL_PUNCTUATION: Final = (
    ".!?\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0964\u0965"
    "\u104a\u104b\u1362\u1367\u1368\u166e\u17d4\u17d5\u1803\u1809\u1944\u1945"
    "\u203c\u203d\u2047\u2048\u2049\u3002\ufe52\ufe56\ufe57\uff01\uff0e\uff1f"
    "\uff61"
)
"""Main members of Unicode's Sentence_Terminal property."""

LAST_ASSIGNED: Final = 0x323B0  # nothing but tags, variation selectors and private use lies above
_SOLO_RANGES = (
    (0x0E01, 0x0E5B),  # Thai
    (0x0E81, 0x0EDF),  # Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17DD),  # Khmer
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),
    (0x20000, LAST_ASSIGNED - 1),
)


@lru_cache(maxsize=1)
def char_classes() -> np.ndarray:
    """uint16[0x110000] of flags by code point (2.2 MB, about 0.2 s once)."""
    table = np.zeros(0x110000, np.uint16)
    table[:LAST_ASSIGNED] = [_flags(chr(cp)) for cp in range(LAST_ASSIGNED)]
    table[0xE0100:0xE01F0] = WORD
    table[0xF0000:] = DAMAGE
    for first, last in _SOLO_RANGES:
        table[first : last + 1] |= np.where(table[first : last + 1] & WORD, SOLO, 0).astype(np.uint16)
    for char in TERMINAL_PUNCTUATION:
        table[ord(char)] |= TERMINAL
    table.flags.writeable = False
    return table


def _flags(char: str) -> int:
    category = unicodedata.category(char)
    flags = ALPHA * char.isalpha() | DIGIT * char.isdecimal() | UPPER * char.isupper() | SPACE * char.isspace()
    flags |= SYMBOL * (category[0] in "PS") | WORD * (category[0] in "LMN")
    return flags | DAMAGE * (category == "Co" or (category == "Cc" and not char.isspace()))

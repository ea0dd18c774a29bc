"""What a character can be to the English tokeniser: bit flags by code point. Knows nothing of how words are cut."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

import numpy as np

from curator.signals.text.unicode import LAST_ASSIGNED, TERMINAL_PUNCTUATION

__all__ = [
    "ALPHA",
    "CURRENCY",
    "CURRENCY_SIGNS",
    "DIGIT",
    "ENDS_SENTENCE",
    "HYPHEN",
    "ICON",
    "INFIX",
    "KIND_SHIFT",
    "LETTER",
    "LOWER",
    "MARK",
    "MARKS",
    "PREFIX",
    "PUNCTUATION",
    "QUOTE",
    "QUOTES",
    "SIGNS",
    "STOPPABLE",
    "SUFFIX",
    "UPPER",
    "token_classes",
]

ALPHA: Final = 1  # a letter of a script the rules know
LOWER: Final = 2  # a small one, or one of a script without case
UPPER: Final = 4  # a capital one, or one of a script without case
PREFIX: Final = 8  # is cut off where it begins a run
SUFFIX: Final = 16  # is cut off where it ends one
QUOTE: Final = 32
ICON: Final = 64  # stands alone wherever it is: emoji, arrows, box drawing (category So)
CURRENCY: Final = 128
HYPHEN: Final = 256  # parts letters: - – — ~
STOPPABLE: Final = 512  # a full stop after it is cut off: a b 1 ) % but not A
LETTER: Final = 1024  # str.isalpha
MARK: Final = 2048  # one of MARKS or a control character: a token of nothing else is no word
PUNCTUATION: Final = 4096  # category P*
ENDS_SENTENCE: Final = 8192  # alone, ends a sentence
DIGIT: Final = 16384  # 0 to 9
INFIX: Final = 32768  # may part a run from within: . , … - / = and icons

KIND_SHIFT: Final = 21  # flags may stand above a code point in one integer

SIGNS: Final = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
"""Punctuation that is cut off at both ends of a run."""
QUOTES: Final = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
CURRENCY_SIGNS: Final = "$£€¥฿₽﷼₴" + "".join(map(chr, range(0x20A0, 0x20C0)))
MARKS: Final = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "—–”“„’´…«»►━∶、。〈〉《》「」【】！％（），．１：；？～"
"""Characters that alone make no word (MassiveText counts words); the datatrove library's set, bullets left out."""

_CASED = ("LATIN", "CYRILLIC", "GREEK")
_UNCASED = (
    (0x1200, 0x137F), (0x0980, 0x09FF), (0x0591, 0x05F4), (0xFB1D, 0xFB4F), (0x0620, 0x064A), (0x066E, 0x06D5),
    (0x06E5, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08BD), (0xFB50, 0xFDFB), (0xFE70, 0xFEFC), (0x0D80, 0x0DFF),
    (0x0900, 0x097F), (0x0C80, 0x0CFF), (0x0B80, 0x0BFF), (0x0C00, 0x0C7F), (0xAC00, 0xD7AF), (0x1100, 0x11FF),
    (0x3040, 0x309F), (0x30A0, 0x30FF), (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x2EBEF),
)  # fmt: skip
"""Ethiopic, Bengali, Hebrew, Arabic, Sinhala, Devanagari, Kannada, Tamil, Telugu, Hangul, Kana, ideographs."""


@lru_cache(maxsize=1)
def token_classes() -> np.ndarray:
    """uint16[0x110000] of flags by code point."""
    table = np.zeros(0x110000, np.uint16)
    table[:LAST_ASSIGNED] = [_flags(chr(cp)) for cp in range(LAST_ASSIGNED)]
    for first, last in _UNCASED:
        table[first : last + 1] |= np.uint16(ALPHA | LOWER | UPPER)
    for flag, chars in (
        (PREFIX | SUFFIX | STOPPABLE, SIGNS),
        (PREFIX | SUFFIX | STOPPABLE | QUOTE, QUOTES),
        (PREFIX | CURRENCY, CURRENCY_SIGNS),
        (PREFIX, "§%=+"),
        (PREFIX | SUFFIX, "—–"),
        (HYPHEN, "-–—~"),
        (STOPPABLE, "%²-+|0123456789"),
        (MARK, MARKS),
        (INFIX, ".…,+-*^–—~:<>=/"),
        (ENDS_SENTENCE, TERMINAL_PUNCTUATION),
    ):
        for char in chars:
            table[ord(char)] |= np.uint16(flag)
    table[table & LOWER > 0] |= np.uint16(STOPPABLE)
    table.flags.writeable = False
    return table


def _flags(char: str) -> int:
    category = unicodedata.category(char)
    flags = LETTER * char.isalpha() | DIGIT * ("0" <= char <= "9") | PUNCTUATION * (category[0] == "P")
    if category == "So":
        flags |= ICON | INFIX | PREFIX | SUFFIX
    if category == "Cc" and char != "\n":
        flags |= MARK
    if category in ("Lu", "Ll") and unicodedata.name(char, "").startswith(_CASED):
        flags |= ALPHA | (UPPER if category == "Lu" else LOWER)
    return flags

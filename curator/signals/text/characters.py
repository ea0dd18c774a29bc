"""What a text is made of, character by character: letters, digits, symbols, and the marks of a broken encoding.

One pass: a byte histogram answers for ASCII, only the rest is decoded. Knows nothing of words or lines.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import E1, E8, HIGHS, code_point, inner, lean, load_word
from curator.signals.text.family import Family
from curator.signals.text.unicode import ALPHA, DAMAGE, DIGIT, SPACE, SYMBOL, UPPER, char_classes

__all__ = ["CHARACTERS", "CP1252_HIGH"]

SIGNALS: Final = {
    "num_chars": "code points",
    "alphabetic_share": "letters (str.isalpha) per character",
    "digit_share": "decimal digits per character",
    "uppercase_share": "capitals per letter; cannot say without letters",
    "whitespace_share": "whitespace per character",
    "symbol_share": "punctuation and symbols (Unicode P*, S*) per character",
    "replacement_share": "U+FFFD per character: bytes somebody could not decode",
    "control_share": "control characters that are not whitespace, and private-use characters, per character",
    "mojibake_share": "pairs that UTF-8 read as Latin-1 or Windows-1252 leaves behind (Ã©, Â°, â€) per character",
}

CP1252_HIGH: Final = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
"""What Windows-1252 puts at 0x80..0x9F."""

_TAIL = np.zeros(0x2200, np.bool_)
"""Code points that a UTF-8 continuation byte turns into when misread."""
_TAIL[0x80:0xC0] = True
_TAIL[[ord(char) for char in CP1252_HIGH]] = True

_A_CIRCUMFLEX, _A_TILDE, _SMALL_A_CIRCUMFLEX, _I_DIAERESIS = 0xC2, 0xC3, 0xE2, 0xEF
_LANES = 4


@inner
def _histogram(data, start, stop, lanes):
    """Adds bytes start..stop to lanes[0]; four lanes so that equal neighbours do not wait for each other."""
    lanes[:] = 0
    at = start
    while at + E8 <= stop:
        word = load_word(data, at, stop)
        for k in range(_LANES):
            low, high = np.uint64(16 * k), np.uint64(16 * k + 8)
            lanes[k, (word >> low) & np.uint64(255)] += 1
            lanes[k, (word >> high) & np.uint64(255)] += 1
        at += E8
    while at < stop:
        lanes[0, data[at]] += 1
        at += E1
    for byte in range(256):
        for k in range(1, _LANES):
            lanes[0, byte] += lanes[k, byte]


@inner
def _is_mojibake(before, cp):
    if before in (_A_TILDE, _A_CIRCUMFLEX):
        return cp < _TAIL.size and _TAIL[cp]
    if before == _SMALL_A_CIRCUMFLEX:
        return cp == 0x20AC or cp == 0x80
    return before == _I_DIAERESIS and (cp == 0xBB or cp == 0xBF)


@inner
def _add_beyond_ascii(data, start, stop, classes, counts):
    """Adds characters above 0x7F to counts of alpha, digit, upper, space, symbol, damage, replacement, mojibake."""
    at = start
    before = 0
    while at < stop:
        if data[at] < 0x80:
            before = 0
            while at < stop and (load_word(data, at, stop) & HIGHS) == 0:
                at += E8
            while at < stop and data[at] < 0x80:
                at += E1
            continue
        cp, width = code_point(data, at)
        flags = classes[cp]
        counts[0] += (flags & ALPHA) != 0
        counts[1] += (flags & DIGIT) != 0
        counts[2] += (flags & UPPER) != 0
        counts[3] += (flags & SPACE) != 0
        counts[4] += (flags & SYMBOL) != 0
        counts[5] += (flags & DAMAGE) != 0
        counts[6] += cp == 0xFFFD
        counts[7] += _is_mojibake(before, cp)
        before = cp
        at += width


@lean
def _characters(data, offsets, classes, lanes, counts, out):
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        _histogram(data, start, stop, lanes)
        counts[:] = 0
        for byte in range(128):
            found = np.int64(lanes[0, byte])
            if found:
                flags = classes[byte]
                for k in range(6):  # the first six flags, lowest bit first
                    counts[k] += found * ((flags >> k) & 1)
        ascii_chars = beyond = np.int64(0)
        for byte in range(128):
            ascii_chars += lanes[0, byte]
            beyond += lanes[0, 0x80 + byte] if byte >= 0x40 else 0  # 0x80..0xBF continue a character
        if ascii_chars < np.int64(stop - start):
            _add_beyond_ascii(data, start, stop, classes, counts)
        chars = ascii_chars + beyond
        out[row, 0] = chars
        for k, column in enumerate((1, 2, 3, 4, 5, 7, 6, 8)):
            whole = counts[0] if k == 2 else chars
            out[row, column] = counts[k] / whole if whole else np.nan


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    lanes, counts = np.zeros((_LANES, 256), np.uint32), np.zeros(8, np.int64)
    _characters(rows.data, rows.offsets, char_classes(), lanes, counts, out)
    return out


CHARACTERS: Final = Family(SIGNALS, _score)

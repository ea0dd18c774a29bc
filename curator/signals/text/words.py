"""What the words of a text say: how many, how long, how many are words at all.

A word is a run of non-whitespace (`str.split`): no tokeniser splits punctuation off, so counts differ a little from
pipelines that use one. Knows nothing of lines or of repetition.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import (
    E1,
    E8,
    HIGHS,
    ONES,
    byte_equal,
    code_point,
    count_chars,
    kernel,
    load_word,
    popcount,
    word_end,
    word_start,
)
from curator.signals.text.family import Family
from curator.signals.text.unicode import ALPHA, DAMAGE, SYMBOL, char_classes

__all__ = ["STOP_WORDS", "WORDS"]

STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")
"""English stop words of MassiveText (Rae et al. 2021, section A1.1); matched as they stand, case included."""

SIGNALS: Final = {
    "num_words": "runs of non-whitespace",
    "num_proper_words": "words with at least one character that is neither punctuation, symbol nor control",
    "mean_word_length": "characters per proper word",
    "alphabetic_word_share": "words with at least one letter, per word (Gopher)",
    "num_stop_words": "how many of the eight stop words the, be, to, of, and, that, have, with occur (Gopher)",
    "hash_per_word": "# per word (Gopher)",
    "ellipsis_per_word": "... and … per word (Gopher)",
    "newline_per_word": "newlines per word (FineWeb)",
    "url_char_share": "characters of words that hold :// or begin with www., per character",
}

_STOP_SIZES = np.array([len(word) for word in STOP_WORDS], np.uint64)
_STOP_BYTES = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.uint64)
_WWW = np.uint64(int.from_bytes(b"www.", "little"))
_FOUR_BYTES = np.uint64(0xFFFFFFFF)
_FOLD = np.uint64(0x00202020)
_HASHES, _DOTS, _COLONS = ONES * np.uint64(0x23), ONES * np.uint64(0x2E), ONES * np.uint64(0x3A)
_LOWS = ~HIGHS

LETTER, PROPER, URL = 1, 2, 4


@kernel
def _between(low_bits, first, last):
    """High bit of each byte (all below 0x80) from `first` to `last`."""
    reach = low_bits + ONES * np.uint64(0x80 - first)
    beyond = low_bits + ONES * np.uint64(0x7F - last)
    return reach & ~beyond


@kernel
def _ellipses(data, start, stop):
    """word.count("..."): runs of dots, three by three."""
    found = run = 0
    while start < stop:
        run = run + 1 if data[start] == 46 else 0
        if run == 3:
            found += 1
            run = 0
        start += E1
    return found


@kernel
def _holds_scheme(data, start, stop):
    """Whether :// lies within start..stop."""
    while start + np.uint64(2) < stop:
        if data[start] == 58 and data[start + E1] == 47 and data[start + np.uint64(2)] == 47:
            return True
        start += E1
    return False


@kernel
def _word_facts(data, start, stop, classes):
    """(flags, characters, number signs, ellipses) of the word start..stop."""
    at = start
    letters = digits = high = np.uint64(0)
    hashes = dots = colons = rest = np.uint64(0)
    while at < stop:
        word = load_word(data, at, stop)
        low = word & _LOWS
        letters |= _between((word | (ONES * np.uint64(32))) & _LOWS, 97, 122) & ~word
        digits |= _between(low, 48, 57) & ~word
        high |= word
        hashes += popcount(byte_equal(word, _HASHES))
        dots += popcount(byte_equal(word, _DOTS))
        colons |= byte_equal(word, _COLONS)
        rest += popcount((word >> np.uint64(7)) & (~(word >> np.uint64(6))) & ONES)
        at += E8
    flags = 0
    if letters & HIGHS:
        flags |= LETTER | PROPER
    elif digits & HIGHS:
        flags |= PROPER
    ellipses = _ellipses(data, start, stop) if dots >= np.uint64(3) else 0
    if colons and _holds_scheme(data, start, stop):
        flags |= URL
    if stop - start >= np.uint64(4):
        folded = load_word(data, start, stop) & _FOUR_BYTES
        if (folded | _FOLD) == _WWW:
            flags |= URL
    if high & HIGHS:
        at = start
        while at < stop:
            cp, width = code_point(data, at)
            if cp > 0x7F:
                kind = classes[cp]
                if kind & ALPHA:
                    flags |= LETTER
                if not kind & (SYMBOL | DAMAGE):
                    flags |= PROPER
                ellipses += cp == 0x2026
            at += width
    return flags, np.int64(stop - start - rest), np.int64(hashes), ellipses


@kernel
def _words(data, offsets, classes, out):
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        words = proper = proper_chars = alphabetic = stops = hashes = ellipses = url_chars = 0
        at = word_start(data, start, stop)
        while at < stop:
            end = word_end(data, at, stop)
            flags, chars, signs, dots = _word_facts(data, at, end, classes)
            words += 1
            if flags & PROPER:
                proper += 1
                proper_chars += chars
            alphabetic += flags & LETTER
            hashes += signs
            ellipses += dots
            if flags & URL:
                url_chars += chars
            size = end - at
            if size <= np.uint64(4):
                letters = load_word(data, at, end)
                for k in range(_STOP_BYTES.size):
                    if letters == _STOP_BYTES[k] and size == _STOP_SIZES[k]:
                        stops |= 1 << k
            at = word_start(data, end, stop)
        newlines = 0
        for byte in data[offsets[row] : offsets[row + 1]]:
            newlines += byte == 10
        total = np.float64(words) if words else np.nan
        out[row, 0] = words
        out[row, 1] = proper
        out[row, 2] = proper_chars / proper if proper else np.nan
        out[row, 3] = alphabetic / total
        out[row, 4] = np.int64(popcount(np.uint64(stops)))
        out[row, 5] = hashes / total
        out[row, 6] = ellipses / total
        out[row, 7] = newlines / total
        all_chars = np.int64(count_chars(data, start, stop))
        out[row, 8] = url_chars / all_chars if all_chars else np.nan


def _score(rows: RowBytes) -> np.ndarray:
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _words(rows.data, rows.offsets, char_classes(), out)
    return out


WORDS: Final = Family(SIGNALS, _score)

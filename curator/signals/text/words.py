"""What the words of a text say: how many, how long, how many are words at all.

A word is a run of non-whitespace (`str.split`): no tokeniser splits punctuation off, so counts differ a little from
pipelines that use one. Knows nothing of lines or of repetition.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import E1, code_point, count_chars, kernel, load_word, popcount
from curator.signals.text.family import Family
from curator.signals.text.tokens import DIGIT, HIGH, LETTER, next_word
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
_LONGEST_STOP_WORD = np.uint64(4)
_STOP_BYTES = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.uint64)
_WWW = np.uint64(int.from_bytes(b"www.", "little"))
_FOUR_BYTES = np.uint64(0xFFFFFFFF)
_FOLD = np.uint64(0x00202020)


@kernel
def _ellipses(data, start, stop):
    """text.count("...") + text.count("…") of start..stop: runs of dots three by three, and the bytes E2 80 A6."""
    three = signs = 0
    part = data[start:stop]
    for k in range(part.size - 2):  # vectorised; runs are only walked where there is one
        three += (part[k] == 46) & (part[k + 1] == 46) & (part[k + 2] == 46)
        signs += (part[k] == 0xE2) & (part[k + 1] == 0x80) & (part[k + 2] == 0xA6)
    if three:
        run = 0
        for byte in part:
            run = run + 1 if byte == 46 else 0
            if run == 3:
                signs += 1
                run = 0
    return signs


@kernel
def _may_hold_url(data, start, stop):
    """Whether :// or ww (any case) lies anywhere in start..stop."""
    hits = 0
    part = data[start:stop]
    for k in range(part.size - 2):
        hits += (part[k] == 58) & (part[k + 1] == 47) & (part[k + 2] == 47)
        hits += ((part[k] | 0x20) == 0x77) & ((part[k + 1] | 0x20) == 0x77)
    return hits > 0


@kernel
def _is_url(data, start, stop):
    """Whether the word start..stop holds :// or begins with www. (any case)."""
    if stop - start >= np.uint64(4) and (load_word(data, start, stop) & _FOUR_BYTES) | _FOLD == _WWW:
        return True
    for at in range(start + np.uint64(2), stop):
        if data[at] == 47 and data[at - E1] == 47 and data[at - np.uint64(2)] == 58:
            return True
    return False


@kernel
def _beyond_ascii(data, start, stop, classes):
    """(holds a letter, holds a proper character) among the characters beyond ASCII of start..stop."""
    letter = proper = False
    at = start
    while at < stop:
        cp, width = code_point(data, at)
        if cp > 0x7F:
            letter |= (classes[cp] & ALPHA) != 0
            proper |= (classes[cp] & (SYMBOL | DAMAGE)) == 0
        at += width
    return letter, proper


@kernel
def _stop_word(data, start, stop):
    """1 << k for the k-th stop word, 0 for any other word."""
    size = stop - start
    if size > _LONGEST_STOP_WORD:
        return 0
    letters = load_word(data, start, stop)
    for k in range(_STOP_BYTES.size):
        if letters == _STOP_BYTES[k] and size == _STOP_SIZES[k]:
            return 1 << k
    return 0


@kernel
def _words(data, offsets, classes, out):
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        words = proper = proper_chars = alphabetic = stops = url_chars = 0
        urls = _may_hold_url(data, start, stop)
        begin, end, kinds = next_word(data, start, stop)
        while begin < stop:
            is_alphabetic = (kinds & LETTER) != 0
            is_proper = (kinds & (LETTER | DIGIT)) != 0
            chars = np.int64(end - begin)
            if kinds & HIGH:
                letter, other = _beyond_ascii(data, begin, end, classes)
                is_alphabetic |= letter
                is_proper |= other
                chars = np.int64(count_chars(data, begin, end))
            words += 1
            alphabetic += is_alphabetic
            proper += is_proper
            proper_chars += chars * is_proper
            if urls and _is_url(data, begin, end):
                url_chars += chars
            stops |= _stop_word(data, begin, end)
            begin, end, kinds = next_word(data, end, stop)
        hashes = newlines = 0
        for byte in data[offsets[row] : offsets[row + 1]]:
            hashes += byte == 35
            newlines += byte == 10
        total = np.float64(words) if words else np.nan
        all_chars = np.float64(count_chars(data, start, stop)) if start < stop else np.nan
        out[row, 0] = words
        out[row, 1] = proper
        out[row, 2] = proper_chars / proper if proper else np.nan
        out[row, 3] = alphabetic / total
        out[row, 4] = np.int64(popcount(np.uint64(stops)))
        out[row, 5] = hashes / total
        out[row, 6] = _ellipses(data, start, stop) / total
        out[row, 7] = newlines / total
        out[row, 8] = url_chars / all_chars


def _score(rows: RowBytes) -> np.ndarray:
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _words(rows.data, rows.offsets, char_classes(), out)
    return out


WORDS: Final = Family(SIGNALS, _score)

"""What the words of a text say, words being runs of non-whitespace (`str.split`): how many, how many are words at all.

Knows nothing of lines or of tokens: where punctuation is to stand apart, `pages` counts.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import E1, code_point, count_chars, inner, lean, load_word
from curator.signals.text.family import Family
from curator.signals.text.tokens import DIGIT, HIGH, LETTER, next_word
from curator.signals.text.unicode import ALPHA, DAMAGE, SYMBOL, char_classes

__all__ = ["WORDS"]

SIGNALS: Final = {
    "num_words": "runs of non-whitespace",
    "num_proper_words": "words with at least one character that is neither punctuation, symbol nor control",
    "alphabetic_word_share": "words with at least one letter, per word (DCLM)",
    "url_char_share": "characters of words that hold :// or begin with www., per character",
}

_WWW = np.uint64(int.from_bytes(b"www.", "little"))
_FOUR_BYTES = np.uint64(0xFFFFFFFF)
_FOLD = np.uint64(0x00202020)


@inner
def _may_hold_url(data, start, stop):
    """Whether :// or ww (any case) lies anywhere in start..stop."""
    hits = 0
    part = data[start:stop]
    for k in range(part.size - 2):
        hits += (part[k] == 58) & (part[k + 1] == 47) & (part[k + 2] == 47)
        hits += ((part[k] | 0x20) == 0x77) & ((part[k + 1] | 0x20) == 0x77)
    return hits > 0


@inner
def _is_url(data, start, stop):
    """Whether the word start..stop holds :// or begins with www. (any case)."""
    if stop - start >= np.uint64(4) and (load_word(data, start, stop) & _FOUR_BYTES) | _FOLD == _WWW:
        return True
    for at in range(start + np.uint64(2), stop):
        if data[at] == 47 and data[at - E1] == 47 and data[at - np.uint64(2)] == 58:
            return True
    return False


@inner
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


@lean
def _words(data, offsets, classes, out):
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        words = proper = alphabetic = url_chars = 0
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
            if urls and _is_url(data, begin, end):
                url_chars += chars
            begin, end, kinds = next_word(data, end, stop)
        all_chars = np.float64(count_chars(data, start, stop)) if start < stop else np.nan
        out[row, 0] = words
        out[row, 1] = proper
        out[row, 2] = alphabetic / np.float64(words) if words else np.nan
        out[row, 3] = url_chars / all_chars


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _words(rows.data, rows.offsets, char_classes(), out)
    return out


WORDS: Final = Family(SIGNALS, _score)

"""Lines judged by the phrases in them: C4's page rules, and shares of boilerplate and of licence text.

C4 (Raffel et al. 2020, section 2.2) as the datatrove library reads it, with whitespace words and a plain notion of a
sentence (below); no line is removed and no citation cut. Knows nothing of thresholds.

A sentence ends with a word whose tail, closing quotes and brackets aside, is . ! ? or …, and at every run of other
scripts' sentence marks (。！？। …); what follows the last end in a line is one more sentence.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.automaton import build
from curator.signals.text.bytescan import (
    E1,
    code_point,
    count_chars,
    kernel,
    strip_left,
    strip_right,
)
from curator.signals.text.family import Family
from curator.signals.text.lines import most_newlines, split_lines
from curator.signals.text.tokens import HIGH, next_word
from curator.signals.text.unicode import TERMINAL, char_classes

__all__ = ["BOILERPLATE_PHRASES", "LICENCE_PHRASES", "PHRASES", "POLICY_PHRASES"]

POLICY_PHRASES: Final = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""C4's policy substrings."""

BOILERPLATE_PHRASES: Final = (
    *POLICY_PHRASES,
    "accept all cookies",
    "accept cookies",
    "add to cart",
    "all categories",
    "back to top",
    "click here",
    "cookie settings",
    "follow us on",
    "forgot your password",
    "leave a comment",
    "leave a reply",
    "log in",
    "newsletter",
    "page not found",
    "please enable javascript",
    "powered by wordpress",
    "read more",
    "share on facebook",
    "share on twitter",
    "share this:",
    "sign in",
    "sign up",
    "skip to content",
    "skip to main content",
    "subscribe to",
    "terms and conditions",
    "terms of service",
    "your email address will not be published",
)
"""What pages say around their text."""

LICENCE_PHRASES: Final = (
    "all rights reserved",
    'as is" without warranty',
    "copyright (c)",
    "copyright ©",
    "creative commons attribution",
    "gnu free documentation license",
    "gnu general public license",
    "licensed under the",
    "permission is hereby granted",
    "redistribution and use in source and binary forms",
    "spdx-license-identifier",
    "this program is free software",
    "without warranties or conditions of any kind",
    "without warranty of any kind",
)

SIGNALS: Final = {
    "c4_lorem_ipsum": "lines of at least three words with lorem ipsum",
    "c4_curly_bracket": "lines that C4's other line rules keep and that hold {, whatever they end with",
    "c4_curly_bracket_terminal": "the same among lines that end in terminal punctuation",
    "c4_sentences": "sentences in lines that C4's line rules keep, whatever they end with",
    "c4_sentences_terminal": "the same among lines that end in terminal punctuation",
    "boilerplate_line_share": "lines with a phrase of web boilerplate, per non-blank line",
    "licence_line_share": "lines with a phrase of copyright or licence text, per non-blank line",
}

_LOREM, _JAVASCRIPT, _POLICY, _CURLY, _BOILERPLATE, _LICENCE = 1, 2, 4, 8, 16, 32

_AUTOMATON = build(
    {
        _LOREM: ("lorem ipsum",),
        _JAVASCRIPT: ("javascript",),
        _POLICY: POLICY_PHRASES,
        _CURLY: ("{",),
        _BOILERPLATE: BOILERPLATE_PHRASES,
        _LICENCE: LICENCE_PHRASES,
    }
)

MAX_WORD_CHARS: Final = 1000
"""C4 removes a line with a longer word."""
MIN_LINE_WORDS: Final = 3
"""C4 removes a line with fewer words."""
CLOSERS: Final = "\"')]}”’»"
"""What may follow the mark that ends a sentence."""
_CLOSING = np.zeros(0x2020, np.bool_)
_CLOSING[[ord(char) for char in CLOSERS]] = True
_MAY_END = np.zeros(256, np.bool_)
"""Last bytes of words that may end a sentence."""
_MAY_END[0x80:] = True
_MAY_END[[ord(char) for char in ".!?" + CLOSERS if char < "\x80"]] = True


@kernel
def _phrases_in(data, start, stop, moves, groups):
    """Bits of all phrase groups within start..stop."""
    state = np.uint64(0)
    found = np.uint8(0)
    while start < stop:
        state = np.uint64(moves[state, data[start]])
        found |= groups[state]
        start += E1
    return found


@kernel
def _ends_like_c4(data, start, stop):
    """Ends with . ? ! " or ' but not with an ellipsis of dots."""
    last = data[stop - E1]
    if last == 46:
        return not (
            stop - start >= np.uint64(3) and data[stop - np.uint64(2)] == 46 and data[stop - np.uint64(3)] == 46
        )
    return last == 63 or last == 33 or last == 34 or last == 39


@kernel
def _ascii_tail_ends(data, start, stop):
    """Whether the word, closing quotes and brackets cut off, ends with . ! ? or …"""
    while stop > start:
        at = stop - E1
        while at > start and (data[at] & 0xC0) == 0x80:
            at -= E1
        cp = code_point(data, at)[0]
        if cp < _CLOSING.size and _CLOSING[cp]:
            stop = at
            continue
        return cp == 46 or cp == 33 or cp == 63 or cp == 0x2026
    return False


@kernel
def _other_marks(data, start, stop, classes):
    """(runs of sentence marks beyond ASCII in start..stop, whether the last character is one)."""
    marks = 0
    in_run = False
    at = start
    while at < stop:
        cp, width = code_point(data, at)
        terminal = cp > 0x7F and (classes[cp] & TERMINAL) != 0
        marks += terminal and not in_run
        in_run = terminal
        at += width
    return marks, in_run


@kernel
def _sentences(data, start, stop, classes):
    """(words, sentences, longest word in characters) of a stripped line."""
    words = sentences = longest = 0
    ended = True
    begin, end, kinds = next_word(data, start, stop)
    while begin < stop:
        words += 1
        if end - begin > np.uint64(MAX_WORD_CHARS):
            longest = max(longest, np.int64(count_chars(data, begin, end)))
        ended = _MAY_END[data[end - E1]] and _ascii_tail_ends(data, begin, end)
        sentences += ended
        if kinds & HIGH:
            marks, in_run = _other_marks(data, begin, end, classes)
            sentences += marks
            ended |= in_run
        begin, end, kinds = next_word(data, end, stop)
    return words, sentences + (not ended), longest


@kernel
def _add_line(data, start, stop, found, classes, counts):
    """Adds a stripped line: lines, lorem, curly, same terminal, sentences, same terminal, boilerplate, licence."""
    counts[0] += 1
    counts[6] += (found & _BOILERPLATE) != 0
    counts[7] += (found & _LICENCE) != 0
    words, sentences, longest = _sentences(data, start, stop, classes)
    if longest > MAX_WORD_CHARS or words < MIN_LINE_WORDS:
        return
    terminal = _ends_like_c4(data, start, stop)
    if found & _LOREM:
        counts[1] += 1
    if found & _JAVASCRIPT:
        return
    if found & _CURLY:
        counts[2] += 1
        counts[3] += terminal
    elif not found & _POLICY:
        counts[4] += sentences
        if terminal:
            counts[5] += sentences


@kernel
def _phrases(data, offsets, moves, groups, classes, starts, ends, out):
    counts = np.zeros(8, np.int64)
    for row in range(offsets.size - 1):
        counts[:] = 0
        pieces = split_lines(data, np.uint64(offsets[row]), np.uint64(offsets[row + 1]), starts, ends)
        for k in range(pieces):
            start = strip_left(data, starts[k], ends[k])
            if start == ends[k]:
                continue
            stop = strip_right(data, start, ends[k])
            _add_line(data, start, stop, _phrases_in(data, start, stop, moves, groups), classes, counts)
        for k in range(1, 6):
            out[row, k - 1] = counts[k]
        out[row, 5] = counts[6] / counts[0] if counts[0] else np.nan
        out[row, 6] = counts[7] / counts[0] if counts[0] else np.nan


def _score(rows: RowBytes) -> np.ndarray:
    most = most_newlines(rows.data, rows.offsets) + 1
    starts, ends = np.empty((2, most), np.uint64)
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _phrases(rows.data, rows.offsets, _AUTOMATON.moves, _AUTOMATON.groups, char_classes(), starts, ends, out)
    return out


PHRASES: Final = Family(SIGNALS, _score)

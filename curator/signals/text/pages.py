"""What the tokens of an English page say: Gopher's quality and repetition, and the lines that C4 keeps.

A page is cut into tokens once; each group of signals reads them, and only the groups asked for are computed. Knows the
groups, not how they count; nothing of thresholds.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import E0, E1, count_chars, inner, lean, popcount, table_size, trailing_zeros
from curator.signals.text.c4_lines import judge_lines, mark_lines
from curator.signals.text.english.classes import token_classes
from curator.signals.text.english.lexicon import edges, lexicon
from curator.signals.text.english.split import new_run
from curator.signals.text.english.stream import (
    ALPHABETIC,
    CHARS,
    PROPER,
    STOP_MASK,
    STOP_SHIFT,
    cut_words,
    memo,
    signs,
)
from curator.signals.text.family import Family
from curator.signals.text.masks import BLOCK, find_words, range_mask
from curator.signals.text.repetition import CHANT, DUPLICATE_N, TOP_N, repeat_shares
from curator.signals.text.unicode import char_classes

__all__ = ["PAGES"]

_QUALITY: Final = {
    "num_proper_tokens": "tokens with at least one character that is no mark (Gopher's words)",
    "mean_token_length": "characters per such token (Gopher)",
    "alphabetic_token_share": "tokens with at least one letter, per token (Gopher)",
    "num_stop_words": "how many of the eight stop words the, be, to, of, and, that, have, with occur (Gopher)",
    "hash_per_token": "# per token (Gopher)",
    "ellipsis_per_token": "... and … per token (Gopher)",
    "newline_per_token": "newlines per token (FineWeb)",
}
_REPETITION: Final = {
    **{
        f"top_{n}_gram_char_share": f"characters of the most frequent {n}-gram, all occurrences, per character (Gopher)"
        for n in TOP_N
    },
    **{f"repeated_{n}_gram_char_share": f"the same; 0 where it occurs fewer than {CHANT} times" for n in TOP_N},
    **{
        f"duplicate_{n}_gram_char_share": f"characters of {n}-grams seen before, each counted once, per character"
        for n in DUPLICATE_N
    },
}
_C4: Final = {
    "c4_lorem_ipsum": "lines of at least three words with lorem ipsum",
    "c4_curly_bracket": "lines that C4's other line rules keep and that hold {, whatever they end with",
    "c4_curly_bracket_terminal": "the same among lines that end in terminal punctuation",
    "c4_sentences": "sentences in lines that C4's line rules keep, whatever they end with",
    "c4_sentences_terminal": "the same among lines that end in terminal punctuation",
    "c4_terminal_line_share": "lines that C4 keeps and that end with terminal punctuation, per line kept (FineWeb)",
    "c4_short_line_share": "lines of at most 30 characters, per line that C4 keeps (FineWeb)",
    "c4_duplicate_char_share": "characters of lines seen before, per character of the lines that C4 keeps (FineWeb)",
    "c4_newline_per_token": "newlines between the lines that C4 keeps, per token in them (FineWeb)",
}
SIGNALS: Final = _QUALITY | _REPETITION | _C4
_WANT_QUALITY, _WANT_REPETITION = 1, 2
_AT_REPETITION = len(_QUALITY)
_AT_C4 = _AT_REPETITION + len(_REPETITION)


@inner
def _signs_in(data, start, stop):
    """(#, ellipses of three dots or one sign) in start..stop."""
    hashes = ellipses = dots = 0
    at = start
    while at < stop:
        left = stop - at
        inside = ~E0 if left >= BLOCK else (E1 << left) - E1
        hashes += np.int64(popcount(range_mask(data, at, 35, 1, 0) & inside))
        full = range_mask(data, at, 46, 1, 0) & inside
        if dots or full & (full >> E1) or full >> np.uint64(62):
            for k in range(min(left, BLOCK)):
                dots = dots + 1 if data[at + np.uint64(k)] == 46 else 0
                if dots == 3:
                    ellipses += 1
                    dots = 0
        sign = range_mask(data, at, 0xA6, 1, 0) & inside
        while sign:
            place = at + trailing_zeros(sign)
            sign &= sign - E1
            if place - start >= E1 + E1:
                ellipses += data[place - E1] == 0x80 and data[place - E1 - E1] == 0xE2
        at += BLOCK
    return hashes, ellipses


@inner
def _quality(data, start, stop, facts, num_tokens, num_lines, out):
    proper = proper_chars = alphabetic = 0
    stops = E0
    for k in range(num_tokens):
        fact = facts[k]
        if fact & PROPER:
            proper += 1
            proper_chars += np.int64(fact & CHARS)
        alphabetic += (fact & ALPHABETIC) != 0
        stops |= E1 << np.uint64((fact >> STOP_SHIFT) & STOP_MASK)
    hashes, ellipses = _signs_in(data, start, stop)
    total = np.float64(num_tokens) if num_tokens else np.nan
    out[0] = proper
    out[1] = proper_chars / proper if proper else np.nan
    out[2] = alphabetic / total
    out[3] = np.int64(popcount(stops >> E1))
    out[4] = hashes / total
    out[5] = ellipses / total
    out[6] = (num_lines - 1) / total


@inner
def _c4(counts, out):
    for k in range(5):
        out[k] = counts[k]
    filled = np.float64(counts[7]) if counts[7] else np.nan
    out[5] = counts[8] / filled
    out[6] = counts[9] / filled
    out[7] = counts[10] / np.float64(counts[11]) if counts[11] else np.nan
    out[8] = (counts[5] - 1) / np.float64(counts[6]) if counts[6] else np.nan


@lean
def _pages(
    data, offsets, wanted, memo, token_classes, words, edges, signs, classes, run, wide, signed, facts, narrow, grams,
    c4, out,
):  # fmt: skip
    """wide: uint64[6, n]; signed: int64[4, n]; facts: uint32[n]; narrow: int32[3, n]: room for the longest row's words,
    lines and tokens. c4: room for what C4's lines need, as `_room_for_lines` gives it; None where they are not asked
    for, and then nothing of them is compiled."""
    begins, ends, newlines, hashes, prefixes, keys = wide[0], wide[1], wide[2], wide[3], wide[4], wide[5]
    words_before, first_token, chars, marks = signed[0], signed[1], signed[2], signed[3]
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        num_words, num_lines = find_words(data, start, stop, begins, ends, newlines, words_before)
        num_tokens = cut_words(
            data, begins, ends, num_words, memo, token_classes, words, edges, signs, run, hashes, facts, first_token
        )
        if wanted & _WANT_QUALITY:
            _quality(data, start, stop, facts, num_tokens, num_lines, out[row])
        if wanted & _WANT_REPETITION:
            all_chars = np.float64(count_chars(data, start, stop)) if start < stop else np.nan
            repeat_shares(
                hashes, facts, num_tokens, all_chars, prefixes, chars, narrow[0], narrow[1], narrow[2],
                grams, out[row, _AT_REPETITION:],
            )  # fmt: skip
        if c4 is not None:
            spare, table, buffer, counts = c4
            mark_lines(data, start, stop, newlines, num_lines, marks)
            judge_lines(
                data, (begins, ends, words_before, first_token, facts), (num_lines, marks), memo,
                token_classes, words, edges, signs, run, spare, classes, table, keys, buffer, counts,
            )  # fmt: skip
            _c4(counts, out[row, _AT_C4:])


def _room_for_lines(size: int) -> tuple[tuple[np.ndarray, ...], np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Room for one line: begins · ends · newlines · hashes · words before · first tokens · facts; a table of lines;
    uint8[size] for a line's bytes, and the same read-only; counts."""
    spare = (*np.empty((4, size), np.uint64), *np.empty((2, size), np.int64), np.empty(size, np.uint32))
    room = np.empty(size, np.uint8)
    same = room.view()
    same.flags.writeable = False
    return spare, np.empty(table_size(size), np.int32), (room, same), np.empty(12, np.int64)


def _score(rows: RowBytes, names: Collection[str]) -> np.ndarray:
    wanted = sum(
        flag
        for flag, group in ((_WANT_QUALITY, _QUALITY), (_WANT_REPETITION, _REPETITION))
        if not group.keys().isdisjoint(names)
    )
    size = int(np.diff(rows.offsets).max(initial=0)) + 16
    out = np.full((len(rows), len(SIGNALS)), np.nan, np.float32)
    wide, signed = np.empty((6, size), np.uint64), np.empty((4, size), np.int64)
    c4 = None if _C4.keys().isdisjoint(names) else _room_for_lines(size)
    _pages(
        rows.data, rows.offsets, wanted, memo(), token_classes(), lexicon(), edges(), signs(), char_classes(),
        new_run(size), wide, signed, np.empty(size, np.uint32), np.empty((3, size), np.int32),
        np.empty(2 * table_size(size), np.uint64), c4, out,
    )  # fmt: skip
    return out


PAGES: Final = Family(SIGNALS, _score)

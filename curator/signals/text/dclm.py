"""What DCLM-Baseline's filters ask of a text beyond Gopher's counts: its marks, and the words its line rules take away.

Words are runs of non-whitespace, lines lie between newlines. Definitions follow the code that DCLM-Baseline was made
with (github.com/mlfoundations/dclm, `baselines/baselines_configs/dclm_baseline_refinedweb.yaml`); the slow twin,
tests/curator/signals/text/reference.py, spells them out. Knows no thresholds but those that say which lines would go.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import (
    E1,
    ONES,
    code_point,
    count_chars,
    inner,
    lean,
    load_word,
    strip_left,
    strip_right,
)
from curator.signals.text.english.lexicon import STOP_WORDS
from curator.signals.text.family import Family
from curator.signals.text.lines import most_newlines, split_lines
from curator.signals.text.tokens import next_word
from curator.signals.text.unicode import ALPHA, DIGIT, UPPER, char_classes

__all__ = ["COUNTED", "DCLM", "MAX_PHRASE_LINE_WORDS", "MAX_UPPER_SHARE", "MIN_LINE_WORDS"]

MAX_UPPER_SHARE: Final = 0.5
"""A line with more capitals per character goes."""
MIN_LINE_WORDS: Final = 2
"""A line of fewer words goes."""
MAX_PHRASE_LINE_WORDS: Final = 10
"""From lines of at most so many words "items in cart", a final "read more..." and a leading "sign-in" go."""
COUNTED: Final = (
    "likes", "shares", "comments", "retweets", "reposts", "quotes",
    "bookmarks", "upvotes", "downvotes", "downloads", "views", "followers",
)  # fmt: skip
"""A line that is a number of these ("3.1k likes") goes."""

SIGNALS: Final = {
    "dclm_mean_word_length": "characters per word, punctuation included (DCLM)",
    "dclm_symbol_per_word": "#, ..., . . . and … together, per word (DCLM)",
    "dclm_num_stop_words": "how often any of the eight stop words occurs, in any case (DCLM)",
    "dclm_bullet_line_share": "non-blank lines that begin with ●, •, * or -, per non-blank line (DCLM)",
    "dclm_ellipsis_line_share": "non-blank lines that end with ..., . . . or …, per non-blank line (DCLM)",
    "dclm_removed_word_share": "words in shouted, one-word and counter lines and in shop phrases, per word (DCLM)",
}


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


_DOTS, _SPACED, _SIGN = _bytes("..."), _bytes(". . ."), _bytes("…")
_CART, _MORE, _ENTER = _bytes("items in cart"), _bytes("read more..."), _bytes("sign-in")
_DISC, _BULLET, _STAR, _DASH = _bytes("●"), _bytes("•"), _bytes("*"), _bytes("-")
_COUNTED = _bytes("".join(COUNTED))
_COUNTED_ENDS = np.cumsum([len(word) for word in COUNTED])
_STOPS = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.uint64)
_STOP_SIZES = np.array([len(word) for word in STOP_WORDS], np.uint64)
_LOWER = ONES * np.uint64(0x20)


@inner
def _fold(byte):
    return byte | np.uint8(0x20) if 0x41 <= byte <= 0x5A else byte


@inner
def _holds(data, at, stop, phrase):
    """Whether `phrase` (lower case) stands at `at`, ASCII capitals folded."""
    if stop - at < np.uint64(phrase.size):
        return False
    for k in range(phrase.size):  # noqa: SIM110 (compiled: no generators)
        if _fold(data[at + np.uint64(k)]) != phrase[k]:
            return False
    return True


@inner
def _ends(data, start, stop, phrase):
    size = np.uint64(phrase.size)
    return stop - start >= size and _holds(data, stop - size, stop, phrase)


@inner
def _is_bullet(data, start, stop):
    dot = _holds(data, start, stop, _DISC) or _holds(data, start, stop, _BULLET)
    return dot or _holds(data, start, stop, _STAR) or _holds(data, start, stop, _DASH)


@inner
def _occurrences(data, start, stop, phrase):
    """How often `phrase` occurs without overlap."""
    count = 0
    at = start
    while at < stop:
        if _holds(data, at, stop, phrase):
            count += 1
            at += np.uint64(phrase.size)
        else:
            at += E1
    return count


@inner
def _is_stop_word(data, start, stop):
    size = stop - start
    if size > np.uint64(4):
        return False
    mask = (E1 << (size * np.uint64(8))) - E1
    letters = load_word(data, start, stop) | (_LOWER & mask)
    for k in range(_STOPS.size):  # noqa: SIM110
        if letters == _STOPS[k] and size == _STOP_SIZES[k]:
            return True
    return False


@inner
def _is_word_byte(byte):
    return 0x30 <= byte <= 0x39 or 0x61 <= _fold(byte) <= 0x7A or byte == 0x5F


@inner
def _is_counter(data, start, stop):
    """[^a-z0-9_]* digit [0-9,.]* [kmb]? whitespace+ (likes|…) [^a-z0-9_]*, all of it ASCII."""
    at = start
    while at < stop and not _is_word_byte(data[at]):
        at += E1
    if at == stop or not 0x30 <= data[at] <= 0x39:
        return False
    while at < stop and (0x30 <= data[at] <= 0x39 or data[at] == 0x2C or data[at] == 0x2E):
        at += E1
    if at < stop and (_fold(data[at]) == 0x6B or _fold(data[at]) == 0x6D or _fold(data[at]) == 0x62):
        at += E1
    spaces = at
    while at < stop and (data[at] == 0x20 or 9 <= data[at] <= 13):
        at += E1
    if at == spaces:
        return False
    first = 0
    for end in _COUNTED_ENDS:
        if _holds(data, at, stop, _COUNTED[first:end]):
            after = at + np.uint64(end - first)
            while after < stop and not _is_word_byte(data[after]):
                after += E1
            return after == stop
        first = end
    return False


@inner
def _is_shouted(data, start, stop, classes):
    upper = chars = 0
    at = start
    while at < stop:
        cp, width = code_point(data, at)
        upper += (classes[cp] & UPPER) != 0
        chars += 1
        at += width
    return upper / chars > MAX_UPPER_SHARE if chars else False


@inner
def _counts(data, start, stop, classes):
    """(words, words that begin with a letter or digit, their characters, stop words) of start..stop."""
    words = counted = chars = stops = 0
    begin, end, _ = next_word(data, start, stop)
    while begin < stop:
        words += 1
        counted += (classes[code_point(data, begin)[0]] & (ALPHA | DIGIT)) != 0
        chars += np.int64(count_chars(data, begin, end))
        stops += _is_stop_word(data, begin, end)
        begin, end, _ = next_word(data, end, stop)
    return words, counted, chars, stops


@inner
def _removed(data, start, stop, words, counted, classes):
    """Words that go with the non-empty line start..stop."""
    if words < MIN_LINE_WORDS or _is_counter(data, start, stop) or _is_shouted(data, start, stop, classes):
        return counted
    if words > MAX_PHRASE_LINE_WORDS:
        return 0
    gone = 3 * _occurrences(data, start, stop, _CART)
    gone += 2 * _ends(data, start, stop, _MORE) + _holds(data, start, stop, _ENTER)
    return min(gone, counted)


@lean
def _dclm(data, offsets, classes, starts, ends, out):
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        pieces = split_lines(data, start, stop, starts, ends) if start < stop else 0
        words = counted = chars = stops = lines = bullets = ellipses = removed = 0
        for k in range(pieces):
            begin, end = strip_left(data, starts[k], ends[k]), ends[k]
            if begin == end:
                continue
            here, here_counted, here_chars, here_stops = _counts(data, begin, end, classes)
            words += here
            counted += here_counted
            chars += here_chars
            stops += here_stops
            removed += _removed(data, starts[k], ends[k], here, here_counted, classes)
            end = strip_right(data, begin, end)
            lines += 1
            bullets += _is_bullet(data, begin, end)
            ellipses += (
                _ends(data, begin, end, _DOTS) | _ends(data, begin, end, _SPACED) | _ends(data, begin, end, _SIGN)
            )
        symbols = 0
        for byte in data[offsets[row] : offsets[row + 1]]:
            symbols += byte == 35
        symbols += _occurrences(data, start, stop, _DOTS)
        symbols += _occurrences(data, start, stop, _SPACED)
        symbols += _occurrences(data, start, stop, _SIGN)
        out[row, 0] = chars / words if words else np.nan
        out[row, 1] = symbols / words if words else np.nan
        out[row, 2] = stops
        out[row, 3] = bullets / lines if lines else np.nan
        out[row, 4] = ellipses / lines if lines else np.nan
        out[row, 5] = removed / counted if counted else np.nan


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    starts, ends = np.empty((2, most_newlines(rows.data, rows.offsets) + 1), np.uint64)
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _dclm(rows.data, rows.offsets, char_classes(), starts, ends, out)
    return out


DCLM: Final = Family(SIGNALS, _score)

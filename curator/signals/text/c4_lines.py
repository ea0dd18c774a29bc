"""The lines that C4 keeps, and what FineWeb says of them: sentences, punctuation, length, repetition.

C4 (Raffel et al. 2020, section 2.2) as the datatrove library reads it: a line goes if a word is longer than 1,000
characters, if it has fewer than three words, speaks of JavaScript or of cookies and policies; "[12]", "[edit]" and
"[citation needed]" are cut out of what stays. FineWeb (Penedo et al. 2024, section 3.6) measures what is left. Lines
lie between "\\n"; datatrove also parts them at rarer separators. Knows no thresholds.

A sentence ends with a token . ! ? (or another script's mark) that no more punctuation follows, as spaCy's sentencizer
has it; what follows the last end in a line is one more sentence.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import (
    E0,
    E1,
    code_point,
    count_chars,
    empty_table,
    first_equal,
    hash_bytes,
    inlined,
    inner,
    trailing_zeros,
)
from curator.signals.text.english.stream import ENDS, PUNCTUATION, cut_words
from curator.signals.text.lines import SHORT_LINE_CHARS
from curator.signals.text.masks import BLOCK, find_words, range_mask
from curator.signals.text.unicode import TERMINAL

__all__ = ["MAX_WORD_CHARS", "MIN_LINE_WORDS", "POLICY_PHRASES", "judge_lines", "mark_lines"]

POLICY_PHRASES: Final = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""C4's policy substrings."""
MAX_WORD_CHARS: Final = 1000
"""C4 removes a line with a longer word."""
MIN_LINE_WORDS: Final = 3
"""C4 removes a line with fewer words."""

_CURLY, _CITATION, _JAVASCRIPT, _LOREM, _POLICY = 1, 2, 4, 8, 16


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


_SCRIPT, _IPSUM, _PRIVACY, _TERMS = map(_bytes, ("javascript", "lorem ipsum", "privacy policy", "terms of use"))
_COOKIE_POLICY, _USES, _USE_OF, _USE = map(_bytes, POLICY_PHRASES[2:])
_EDIT, _NEEDED = _bytes("[edit]"), _bytes("[citation needed]")


@inlined
def _fold(byte):
    return byte | np.uint8(0x20) if 0x41 <= byte <= 0x5A else byte


@inner
def _stands(data, at, start, stop, phrase):
    """Whether `phrase` (lower case) stands at `at` (int64) within start..stop, ASCII capitals folded."""
    if at < np.int64(start) or at + phrase.size > np.int64(stop):
        return False
    for k in range(phrase.size):  # noqa: SIM110 (compiled: no generators)
        if _fold(data[at + k]) != phrase[k]:
            return False
    return True


@inlined
def _three(data, at, first, second, third):
    """Bits where three bytes follow each other, letters in either case."""
    found = range_mask(data, at, first, 1, 0x20) & range_mask(data, at + E1, second, 1, 0x20)
    return found & range_mask(data, at + E1 + E1, third, 1, 0x20)


@inner
def _phrase_at(data, place, start, stop):
    """The flag of the phrase whose rarest three letters stand at `place`; 0 for none."""
    at, first = np.int64(place), _fold(data[place])
    if first == 0x6A:  # j
        return _JAVASCRIPT if _stands(data, at, start, stop, _SCRIPT) else 0
    if first == 0x20:
        return _LOREM if _stands(data, at - 5, start, stop, _IPSUM) else 0
    if first == 0x76:  # v
        return _POLICY if _stands(data, at - 3, start, stop, _PRIVACY) else 0
    if first == 0x6D:  # m
        return _POLICY if _stands(data, at - 3, start, stop, _TERMS) else 0
    cookies = _stands(data, at - 3, start, stop, _COOKIE_POLICY) or _stands(data, at - 8, start, stop, _USES)
    cookies = cookies or _stands(data, at - 10, start, stop, _USE_OF) or _stands(data, at - 7, start, stop, _USE)
    return _POLICY if cookies else 0


@inner
def mark_lines(data, start, stop, newlines, num_lines, marks):
    """Fills marks (int64) with what stands in each line: { · a possible citation · phrases."""
    for line in range(num_lines):
        marks[line] = 0
    line = 0
    at = start
    while at < stop:
        brackets = range_mask(data, at, 0x7B, 1, 0) | range_mask(data, at, 0x5B, 1, 0)
        phrases = _three(data, at, 0x6A, 0x61, 0x76) | _three(data, at, 0x20, 0x69, 0x70)  # jav · " ip"
        phrases |= _three(data, at, 0x6B, 0x69, 0x65) | _three(data, at, 0x76, 0x61, 0x63)  # kie · vac
        phrases |= _three(data, at, 0x6D, 0x73, 0x20)  # "ms "
        found = brackets | phrases
        while found:
            place = at + trailing_zeros(found)
            found &= found - E1
            if place >= stop:
                break
            while newlines[line] < place:
                line += 1
            if data[place] == 0x7B:
                marks[line] |= _CURLY
            elif data[place] == 0x5B:
                marks[line] |= _CITATION
            else:
                marks[line] |= _phrase_at(data, place, start, stop)
        at += BLOCK


@inner
def _citation(data, at, stop):
    """Bytes of the citation that begins at `at`; 0 for none."""
    if data[at] != 0x5B:
        return E0
    end = at + E1
    while end < stop and 0x30 <= data[end] <= 0x39:
        end += E1
    if end < stop and data[end] == 0x5D:
        return end + E1 - at
    for phrase in (_EDIT, _NEEDED):
        size = np.uint64(phrase.size)
        if at + size <= stop:
            same = True
            for k in range(phrase.size):
                same &= data[at + np.uint64(k)] == phrase[k]
            if same:
                return size
    return E0


@inner
def _cut_citations(data, begin, end, buffer):
    """Copies begin..end without citations; returns the bytes copied."""
    size = E0
    while begin < end:
        width = _citation(data, begin, end)
        if width:
            begin += width
            continue
        buffer[size] = data[begin]
        size += E1
        begin += E1
    return size


@inner
def _sentences(facts, first, last):
    """Sentences among tokens first..last."""
    count = 1 if last > first else 0
    ended = False
    for k in range(first, last):
        fact = facts[k]
        if ended and not fact & (ENDS | PUNCTUATION):
            count += 1
            ended = False
        elif fact & ENDS:
            ended = True
    return count


@inner
def _ends_like_c4(data, begin, end):
    """Ends with . ? ! " or ' but not with an ellipsis of dots."""
    if begin == end:
        return False
    last = data[end - E1]
    if last == 46:
        two, three = end - np.uint64(2), end - np.uint64(3)
        return not (end - begin >= np.uint64(3) and data[two] == 46 and data[three] == 46)
    return last == 63 or last == 33 or last == 34 or last == 39


@inner
def _has_long_word(data, begins, ends, first, last):
    for word in range(first, last):
        long = ends[word] - begins[word] > np.uint64(MAX_WORD_CHARS)
        if long and count_chars(data, begins[word], ends[word]) > np.uint64(MAX_WORD_CHARS):
            return True
    return False


@inner
def _last_code_point(data, begin, end):
    at = end - E1
    while at > begin and (data[at] & 0xC0) == 0x80:
        at -= E1
    return code_point(data, at)[0]


@inner
def _add_kept(data, begin, end, sentences, tokens, classes, table, mask, keys, counts):
    """Adds a line that C4 keeps: see `judge_lines` for counts."""
    counts[5] += 1
    counts[6] += tokens
    chars = np.int64(count_chars(data, begin, end))
    if chars == 0:
        return
    line = counts[7]
    counts[7] += 1
    counts[8] += (classes[_last_code_point(data, begin, end)] & TERMINAL) != 0
    counts[9] += chars <= SHORT_LINE_CHARS
    keys[line] = hash_bytes(data, begin, end)
    if first_equal(table, mask, keys, line) != line:
        counts[10] += chars
    counts[11] += chars


@inner
def judge_lines(
    data, text, lines, memo, token_classes, words, edges, signs, run, spare, classes, table, keys, buffer, counts
):
    """Fills counts (int64[12]): lorem ipsum, curly brackets and the same in lines with terminal punctuation, sentences
    and the same; of the lines kept: all, tokens, not empty, terminal, short, characters of duplicates, characters.

    text: begins, ends (uint64[n]), words_before, first_token (int64[n]), facts. lines: their number and
    marks. spare: room for the words and tokens of one line. buffer: room for its bytes, and the same read-only, so that
    all kernels see text of one type.
    """
    begins, ends, words_before, first_token, facts = text
    num_lines, marks = lines
    mask = empty_table(table, num_lines)
    counts[:] = 0
    first_word = 0
    for line in range(num_lines):
        last_word = words_before[line]
        first, first_word = first_word, last_word
        if last_word - first < MIN_LINE_WORDS:
            continue
        begin, end = begins[first], ends[last_word - 1]
        if end - begin > np.uint64(MAX_WORD_CHARS) and _has_long_word(data, begins, ends, first, last_word):
            continue
        _judge(
            data, begin, end, marks[line], facts, first_token[first], first_token[last_word], memo, token_classes,
            words, edges, signs, run, spare, classes, table, mask, keys, buffer, counts,
        )  # fmt: skip


@inner
def _judge(
    data, begin, end, marks, facts, first, last, memo, token_classes, words, edges, signs, run, spare, classes, table,
    mask, keys, buffer, counts,
):  # fmt: skip
    """Adds a line of enough words: its bytes begin..end, its tokens first..last."""
    if marks & _CITATION:
        room, text = buffer
        size = _cut_citations(data, begin, end, room)
        if size < end - begin:
            begins, ends, newlines, hashes, words_before, first_token, new_facts = spare
            num_words, _ = find_words(text, E0, size, begins, ends, newlines, words_before)
            num = cut_words(
                text, begins, ends, num_words, memo, token_classes, words, edges, signs, run, hashes, new_facts,
                first_token,
            )  # fmt: skip
            _count(text, E0, size, marks, _sentences(new_facts, 0, num), num, classes, table, mask, keys, counts)
            return
    _count(data, begin, end, marks, _sentences(facts, first, last), last - first, classes, table, mask, keys, counts)


@inner
def _count(data, begin, end, marks, sentences, tokens, classes, table, mask, keys, counts):
    terminal = _ends_like_c4(data, begin, end)
    counts[0] += (marks & _LOREM) != 0
    if marks & _JAVASCRIPT:
        return
    if marks & _CURLY:
        counts[1] += 1
        counts[2] += terminal
    if marks & _POLICY:
        return
    counts[3] += sentences
    if terminal:
        counts[4] += sentences
    _add_kept(data, begin, end, sentences, tokens, classes, table, mask, keys, counts)

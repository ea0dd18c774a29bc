"""A whole text as tokens: every run of non-whitespace is looked up in a memo of runs cut before, and cut if it is new.

Most runs of a language come again and again, so the rules are walked for few. The memo is a table of fixed size whose
entries overwrite each other: what it holds changes the speed, never the outcome. Knows tokens, not what is counted.

A token is its hash (of its bytes) and its facts in a uint32, lowest bit first:
    24 bits characters · PROPER · ALPHABETIC · 4 bits one more than its place among STOP_WORDS · ENDS · PUNCTUATION
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import threading
from functools import lru_cache
from typing import Final

import numpy as np

from curator.signals.text.bytescan import E1, E8, hash_bytes, hash_near, inlined, inner, lean
from curator.signals.text.english import classes as kind
from curator.signals.text.english.classes import token_classes
from curator.signals.text.english.lexicon import PARTS, edges, known, lexicon
from curator.signals.text.english.lexicon import STOP_SHIFT as KNOWN_STOP_SHIFT
from curator.signals.text.english.split import CUTS, PLACES, SIGNS, new_run, split_run
from curator.signals.text.masks import BLOCK, HALF_BLOCK, other_than_letters

__all__ = [
    "ALPHABETIC",
    "CHARS",
    "ENDS",
    "PROPER",
    "PUNCTUATION",
    "STOP_MASK",
    "STOP_SHIFT",
    "cut_words",
    "memo",
    "signs",
]

CHARS: Final = np.uint32((1 << 24) - 1)
PROPER: Final = np.uint32(1 << 24)
ALPHABETIC: Final = np.uint32(1 << 25)
STOP_SHIFT: Final = np.uint32(26)
STOP_MASK: Final = np.uint32(15)
ENDS: Final = np.uint32(1 << 30)
PUNCTUATION: Final = np.uint32(1 << 31)

_LEADS, _TRAILS, _STOPS = 1, 2, 4
_SLOTS = 1 << 15
_KEPT = 8
"""Tokens of a run that an entry has room for. An entry is two cache lines, the first of which is enough for four
tokens: hash of the run · number of tokens · four hashes · four facts, and again four hashes · four facts."""
_ENTRY = 16
_LONGEST_STOP_WORD = 4
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

_local = threading.local()


def memo() -> np.ndarray:
    """uint64[slots, 16] of this thread."""
    if not hasattr(_local, "memo"):
        _local.memo = np.zeros((_SLOTS, _ENTRY), np.uint64)
    return _local.memo


@lru_cache(maxsize=1)
def signs() -> np.ndarray:
    """uint64[128, 3] by ASCII byte: hash and facts of the sign as a token; bits LEADS, TRAILS, STOPS."""
    classes, words = token_classes(), lexicon()
    table = np.zeros((128, 3), np.uint64)
    for byte in range(33, 127):
        leads = bool(classes[byte] & kind.PREFIX) and chr(byte) != "+"
        trails = bool(classes[byte] & kind.SUFFIX)
        raw = np.frombuffer(bytes([byte]), np.uint8)
        hashes, facts = np.zeros(1, np.uint64), np.zeros(1, np.uint32)
        key = np.uint64(hash_bytes(raw, np.uint64(0), np.uint64(1)))
        _cut(raw, np.uint64(0), np.uint64(1), key, classes, words, edges(), new_run(1), hashes, facts, 0)
        table[byte] = hashes[0], facts[0], _LEADS * leads | _TRAILS * trails | _STOPS * (byte == 46)
    table.flags.writeable = False
    return table


@inlined
def _is_exception(data, begin, end, words, edges):
    if not edges[256 * np.int64(data[begin]) + np.int64(data[end - E1])]:
        return False
    return (known(hash_bytes(data, begin, end), words) & PARTS) != 0


@inlined
def _cut_plain(data, begin, end, others, words, edges, signs, hashes, facts, count):
    """Adds the tokens of a run of ASCII letters with at most a sign before and after them; returns how many it has.

    others: bit k tells that byte k of the run is no letter. 0 where the run is of another kind, or the rules would ask
    for more than the signs to be cut off.
    """
    size = end - begin
    lead, trail = np.uint64(0), np.uint64(0)
    if others:
        lead = others & E1
        trail = (others >> (size - E1)) & E1
        if (lead | trail << (size - E1)) != others or lead + trail >= size:
            return 0
        if trail:
            what = signs[data[end - E1], 2]
            if not what & _TRAILS and not (what & _STOPS and 97 <= data[end - E1 - E1] <= 122):
                return 0
        if lead and not signs[data[begin], 2] & _LEADS:
            return 0
    first, last = begin + lead, end - trail
    key = hash_near(data, first, last - first)
    word = known(key, words)
    if word & PARTS:
        return 0
    if others and _is_exception(data, begin, end, words, edges):
        return 0
    at = count
    if lead:
        if trail and _is_exception(data, begin, last, words, edges):
            return 0
        hashes[at], facts[at] = signs[data[begin], 0], signs[data[begin], 1]
        at += 1
    hashes[at] = key
    facts[at] = np.uint32(last - first) | PROPER | ALPHABETIC | np.uint32(word >> KNOWN_STOP_SHIFT) << STOP_SHIFT
    at += 1
    if trail:
        if lead and _is_exception(data, first, end, words, edges):
            return 0
        hashes[at], facts[at] = signs[data[end - E1], 0], signs[data[end - E1], 1]
        at += 1
    return at - count


@inlined
def _facts(run, first, last, word):
    """The facts of characters first..last. word: what is known of them."""
    some, every = np.int64(0), np.int64(-1)
    for k in range(first, last):
        some |= run[SIGNS, k]
        every &= run[SIGNS, k]
    some >>= kind.KIND_SHIFT
    every >>= kind.KIND_SHIFT
    found = np.uint32(min(last - first, np.int64(CHARS))) | np.uint32(word >> KNOWN_STOP_SHIFT) << STOP_SHIFT
    if not every & kind.MARK:
        found |= PROPER
    if some & kind.LETTER:
        found |= ALPHABETIC
    if every & kind.PUNCTUATION:
        found |= PUNCTUATION
    if last - first == 1 and every & kind.ENDS_SENTENCE:
        found |= ENDS
    return found


@lean
def _cut(data, begin, end, key, classes, words, edges, run, hashes, facts, count):
    """Adds the tokens of one run after the first `count`; returns how many it has."""
    num = split_run(data, begin, end, classes, words, edges, run)
    for k in range(num):
        first, last = run[CUTS, k], run[CUTS, k + 1]
        part = hash_bytes(data, np.uint64(run[PLACES, first]), np.uint64(run[PLACES, last]))
        hashes[count + k] = part
        word = known(part, words) if last - first <= _LONGEST_STOP_WORD else np.uint64(0)
        facts[count + k] = _facts(run, first, last, word)
    return num


@inlined
def _remember(memo, slot, key, hashes, facts, count, num):
    memo[slot, 0], memo[slot, 1] = key, np.uint64(num)
    for first in range(0, num, 4):
        at = 2 if first == 0 else 8
        for k in range(first, min(num, first + 4)):
            memo[slot, at + k - first] = hashes[count + k]
        for k in range(first, min(num, first + 4), 2):
            second = np.uint64(facts[count + k + 1]) if k + 1 < num else np.uint64(0)
            memo[slot, at + 4 + (k - first) // 2] = np.uint64(facts[count + k]) | (second << _HALF)


@inlined
def _recall(memo, slot, at, hashes, facts, count):
    """Writes the four tokens that an entry holds from place `at` on."""
    for k in range(4):
        hashes[count + k] = memo[slot, at + k]
    for k in range(2):
        pair = memo[slot, at + 4 + k]
        facts[count + 2 * k] = np.uint32(pair & _LOW)
        facts[count + 2 * k + 1] = np.uint32(pair >> _HALF)


@inner
def cut_words(data, begins, ends, num_words, memo, classes, words, edges, signs, run, hashes, facts, first_token):
    """Fills hashes and facts with the tokens of a text; first_token[w] is where those of word w begin.

    hashes and facts need room for seven tokens more; first_token for one word more. Returns the number of tokens.
    """
    mask = np.uint64(memo.shape[0] - 1)
    count = 0
    for word in range(num_words):
        begin, end = begins[word], ends[word]
        first_token[word] = count
        if end - begin <= HALF_BLOCK and begin + BLOCK <= np.uint64(data.size):
            others = other_than_letters(data, begin) & ((E1 << (end - begin)) - E1)
            num = _cut_plain(data, begin, end, others, words, edges, signs, hashes, facts, count)
            if num:
                count += num
                continue
        key = hash_bytes(data, begin, end)
        slot = (key >> E8) & mask
        if memo[slot, 0] == key:
            num = np.int64(memo[slot, 1])
            if num == 1:
                hashes[count] = memo[slot, 2]
                facts[count] = np.uint32(memo[slot, 6] & _LOW)
            else:
                _recall(memo, slot, 2, hashes, facts, count)
                if num > 4:
                    _recall(memo, slot, 8, hashes, facts, count + 4)
        else:
            num = _cut(data, begin, end, key, classes, words, edges, run, hashes, facts, count)
            if num <= _KEPT:
                _remember(memo, slot, key, hashes, facts, count, num)
        count += num
    first_token[num_words] = count
    return count

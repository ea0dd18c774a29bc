"""How much of a text is the same few word sequences over and over: Gopher's top and duplicate n-gram shares.

MassiveText, Rae et al. 2021, section A1.1, counted over tokens as the datatrove library does. Exact pruning makes it
cheap: an n-gram can occur twice only where both of its (n-1)-grams do, so beyond n = 2 only repeated stretches are
looked at. Knows tokens as hashes and lengths; nothing of bytes or lines.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import E0, E1, lean
from curator.signals.text.english.stream import CHARS

__all__ = ["DUPLICATE_N", "MAX_TOKENS", "TOP_N", "repeat_shares"]

TOP_N: Final = (2, 3, 4)
DUPLICATE_N: Final = (5, 6, 7, 8, 9, 10)

MAX_TOKENS: Final = (1 << 24) - 2
"""Of a longer text only so many tokens are looked at."""

_BASE = np.uint64(0xD6E8FEB86659FD93)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_CANDIDATE = np.uint64((1 << 24) - 1)
_FIRST_TOP, _LAST_TOP, _LAST = TOP_N[0], TOP_N[-1], DUPLICATE_N[-1]
_NUM_TOP = len(TOP_N)


@lean
def _prefixes(hashes, facts, num_tokens, prefixes, chars):
    """Running hash and running character count."""
    prefixes[0] = 0
    chars[0] = 0
    for k in range(num_tokens):
        prefixes[k + 1] = prefixes[k] * _BASE + hashes[k]
        chars[k + 1] = chars[k] + np.int64(facts[k] & CHARS)


@lean
def _group(prefixes, power, n, places, num_places, table, group, counts):
    """group[q] = the first candidate with the same n-gram as candidate q; counts[group[q]] = how many there are.

    A slot holds the upper 40 bits of an n-gram's hash and, below them, one more than its first candidate; the lower
    bits of the hash choose the slot. Two n-grams are taken for one once in 10^12.
    """
    size = np.uint64(2)
    while size < np.uint64(2 * num_places):
        size *= np.uint64(2)
    table[:size] = 0
    mask = size - E1
    for q in range(num_places):
        place = places[q]
        key = prefixes[place + n] - prefixes[place] * power
        key = (key ^ (key >> np.uint64(32))) * _MIX
        key ^= key >> np.uint64(29)
        tag = key & ~_CANDIDATE
        at = key & mask
        counts[q] = 0
        first = q
        while table[at] != E0:
            if table[at] & ~_CANDIDATE == tag:
                first = np.int64(table[at] & _CANDIDATE) - 1
                break
            at = (at + E1) & mask
        if first == q:
            table[at] = tag | np.uint64(q + 1)
        group[q] = first
        counts[first] += 1


@lean
def _top_chars(chars, n, places, num_places, group, counts):
    """Length (spaces included) times count of the most frequent n-gram, the earliest of equals; 0 if none repeats."""
    best, place = 1, 0
    for q in range(num_places):
        if group[q] == q and counts[q] > best:
            best, place = counts[q], places[q]
    return (chars[place + n] - chars[place] + n - 1) * best if best > 1 else 0


@lean
def _duplicate_chars(chars, n, places, num_places, group, met):
    """Characters of n-grams met before, walking left to right and jumping over each one counted."""
    for q in range(num_places):
        met[q] = 0
    total = after = 0
    for q in range(num_places):
        place = places[q]
        if place < after:
            continue
        if met[group[q]]:
            total += chars[place + n] - chars[place]
            after = place + n
        met[group[q]] = 1
    return total


@lean
def _survivors(places, num_places, group, counts):
    """Keeps, in place, the positions whose n-gram and next n-gram both repeat; returns their number."""
    kept = 0
    for q in range(num_places - 1):
        if counts[group[q]] > 1 and places[q + 1] == places[q] + 1 and counts[group[q + 1]] > 1:
            places[kept] = places[q]
            kept += 1
    return kept


@lean
def repeat_shares(hashes, facts, num_tokens, all_chars, prefixes, chars, places, group, counts, met, table, out):
    """Fills out (float32[12]): for n of 2 to 4 the most frequent n-gram's share, then the same where it repeats, then
    for n of 5 to 10 the share of duplicates. all_chars: of the text, more than 0; the arrays: room for all tokens."""
    num_tokens = min(num_tokens, MAX_TOKENS)
    _prefixes(hashes, facts, num_tokens, prefixes, chars)
    num_places = max(num_tokens - 1, 0)
    for q in range(num_places):
        places[q] = q
    power = _BASE
    for n in range(_FIRST_TOP, _LAST + 1):
        power *= _BASE
        _group(prefixes, power, n, places, num_places, table, group, counts)
        if n <= _LAST_TOP:
            repeated = _top_chars(chars, n, places, num_places, group, counts)
            once = chars[n] + n - 1 if num_tokens >= n else 0
            out[n - _FIRST_TOP] = (repeated if repeated else once) / all_chars
            out[n - _FIRST_TOP + _NUM_TOP] = repeated / all_chars
        else:
            out[n - _FIRST_TOP + _NUM_TOP] = _duplicate_chars(chars, n, places, num_places, group, met) / all_chars
        num_places = _survivors(places, num_places, group, counts)

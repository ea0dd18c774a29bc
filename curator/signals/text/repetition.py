"""How much of a text is the same few word sequences over and over: Gopher's top and duplicate n-gram shares.

MassiveText, Rae et al. 2021, section A1.1, counted over tokens as the datatrove library does. Exact pruning makes it
cheap: an n-gram can occur twice only where both of its (n-1)-grams do, so beyond n = 2 only repeated stretches are
looked at. Knows tokens as hashes and lengths; nothing of bytes or lines.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.text.bytescan import E0, E1, inner
from curator.signals.text.english.stream import CHARS

__all__ = ["CHANT", "DUPLICATE_N", "MAX_TOKENS", "TOP_N", "repeat_shares"]

TOP_N: Final = (2, 3, 4)
DUPLICATE_N: Final = (5, 6, 7, 8, 9, 10)

CHANT: Final = 3
"""Occurrences from which an n-gram is a chant. Two are often a headline and the sentence that takes it up."""

MAX_TOKENS: Final = (1 << 24) - 2
"""Of a longer text only so many tokens are looked at."""

_BASE = np.uint64(0xD6E8FEB86659FD93)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_CANDIDATE = np.uint64((1 << 24) - 1)
_FIRST_TOP, _LAST_TOP, _LAST = TOP_N[0], TOP_N[-1], DUPLICATE_N[-1]
_NUM_TOP = len(TOP_N)


@inner
def _prefixes(hashes, facts, num_tokens, prefixes, chars):
    """Running hash and running character count."""
    prefixes[0] = 0
    chars[0] = 0
    for k in range(num_tokens):
        prefixes[k + 1] = prefixes[k] * _BASE + hashes[k]
        chars[k + 1] = chars[k] + np.int64(facts[k] & CHARS)


@inner
def _repeated(prefixes, chars, power, n, places, num_places, table, repeats, state):
    """(characters of n-grams that begin at `places` and repeat, count); marks in `repeats` the places of those that do.

    n of 2 to 4: length (spaces included) times count of the most frequent one, the earliest of equals, and its count;
    state counts them. Beyond: characters of n-grams met before, walking left to right and jumping over each one
    counted; state tells which have been met.

    A slot of the table holds the upper 40 bits of an n-gram's hash and, below them, one more than its first candidate;
    the lower bits of the hash choose the slot. Two n-grams are taken for one once in 10^12.
    """
    size = np.uint64(2)
    while size < np.uint64(4 * num_places):
        size *= np.uint64(2)
    table[:size] = 0
    mask = size - E1
    best, best_at, total, after = 1, 0, 0, 0
    for q in range(num_places):
        place = np.int64(places[q])
        key = prefixes[place + n] - prefixes[place] * power
        key = (key ^ (key >> np.uint64(32))) * _MIX
        key ^= key >> np.uint64(29)
        tag = key & ~_CANDIDATE
        at = key & mask
        while table[at] != E0 and table[at] & ~_CANDIDATE != tag:
            at = (at + E1) & mask
        if table[at] == E0:
            table[at] = tag | np.uint64(q + 1)
            repeats[q] = 0
            state[q] = n <= _LAST_TOP or place >= after
            continue
        first = np.int64(table[at] & _CANDIDATE) - 1
        repeats[q] = repeats[first] = 1
        if n <= _LAST_TOP:
            count = state[first] + 1
            state[first] = count
            if count > best or (count == best and first < best_at):
                best, best_at = count, first
        elif place >= after:
            if state[first]:
                total += chars[place + n] - chars[place]
                after = place + n
            state[first] = 1
    if best > 1:
        place = np.int64(places[best_at])
        return (chars[place + n] - chars[place] + n - 1) * best, best
    return total, best


@inner
def _survivors(places, num_places, repeats):
    """Keeps, in place, the positions whose n-gram and next n-gram both repeat; returns their number."""
    kept = 0
    for q in range(num_places - 1):
        if repeats[q] and repeats[q + 1] and places[q + 1] == places[q] + 1:
            places[kept] = places[q]
            kept += 1
    return kept


@inner
def repeat_shares(hashes, facts, num_tokens, all_chars, prefixes, chars, places, repeats, state, table, out):
    """Fills out (float32[12]): for n of 2 to 4 the most frequent n-gram's share, then the same where it occurs CHANT
    times, then for n of 5 to 10 the share of duplicates. all_chars: of the text, more than 0; the arrays: room for all
    tokens."""
    num_tokens = min(num_tokens, MAX_TOKENS)
    _prefixes(hashes, facts, num_tokens, prefixes, chars)
    num_places = max(num_tokens - 1, 0)
    for q in range(num_places):
        places[q] = q
    power = _BASE
    for n in range(_FIRST_TOP, _LAST + 1):
        power *= _BASE
        found, count = _repeated(prefixes, chars, power, n, places, num_places, table, repeats, state)
        if n <= _LAST_TOP:
            once = chars[n] + n - 1 if num_tokens >= n else 0
            out[n - _FIRST_TOP] = (found if count > 1 else once) / all_chars
            found = found if count >= CHANT else 0
        out[n - _FIRST_TOP + _NUM_TOP] = found / all_chars
        num_places = _survivors(places, num_places, repeats)

"""How much of a text is the same few word sequences over and over: Gopher's top and duplicate n-gram shares.

MassiveText, Rae et al. 2021, section A1.1, counted as the datatrove library does over whitespace words (`str.split`),
but that an n-gram which occurs once is no repetition: there every text of a few words has a top n-gram.
Exact pruning makes it cheap: an n-gram can occur twice only where both of its (n-1)-grams do, so beyond n = 2 only
repeated stretches are looked at. Knows nothing of lines.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import (
    count_chars,
    empty_table,
    first_equal,
    hash_bytes,
    kernel,
    table_size,
)
from curator.signals.text.family import Family
from curator.signals.text.tokens import HIGH, most_words, next_word

__all__ = ["DUPLICATE_N", "REPETITION", "TOP_N"]

TOP_N: Final = (2, 3, 4)
DUPLICATE_N: Final = (5, 6, 7, 8, 9, 10)

SIGNALS: Final = {
    **{
        f"top_{n}_gram_char_share": f"characters of the most frequent repeated {n}-gram, all occurrences, per character"
        for n in TOP_N
    },
    **{
        f"duplicate_{n}_gram_char_share": f"characters of {n}-grams seen before, each counted once, per character"
        for n in DUPLICATE_N
    },
}

_BASE = np.uint64(0xD6E8FEB86659FD93)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_LAST_TOP, _LAST = TOP_N[-1], DUPLICATE_N[-1]


@kernel
def _prefixes(data, start, stop, hashes, chars):
    """Running hash and running character count over the words of start..stop; returns the number of words."""
    words = 0
    hashes[0] = 0
    chars[0] = 0
    begin, end, kinds = next_word(data, start, stop)
    while begin < stop:
        hashes[words + 1] = hashes[words] * _BASE + hash_bytes(data, begin, end)
        size = np.int64(count_chars(data, begin, end)) if kinds & HIGH else np.int64(end - begin)
        chars[words + 1] = chars[words] + size
        words += 1
        begin, end, kinds = next_word(data, end, stop)
    return words


@kernel
def _group(hashes, power, n, places, num_places, keys, table, group, counts):
    """group[q] = the first candidate with the same n-gram as candidate q; counts[group[q]] = how many there are."""
    mask = empty_table(table, num_places)
    for q in range(num_places):
        place = places[q]
        key = hashes[place + n] - hashes[place] * power
        key = (key ^ (key >> np.uint64(32))) * _MIX
        keys[q] = key ^ (key >> np.uint64(29))
        first = first_equal(table, mask, keys, q)
        group[q] = first
        counts[q] = 0
        counts[first] += 1


@kernel
def _top_chars(chars, n, places, num_places, group, counts):
    """Length (spaces included) times count of the most frequent n-gram, the earliest of equals; 0 if none repeats."""
    best, place = 1, 0
    for q in range(num_places):
        if group[q] == q and counts[q] > best:
            best, place = counts[q], places[q]
    return (chars[place + n] - chars[place] + n - 1) * best if best > 1 else 0


@kernel
def _duplicate_chars(chars, n, places, num_places, group, met):
    """Characters of n-grams met before, walking left to right and jumping over each one counted."""
    met[:num_places] = False
    total = after = 0
    for q in range(num_places):
        place = places[q]
        if place < after:
            continue
        if met[group[q]]:
            total += chars[place + n] - chars[place]
            after = place + n
        met[group[q]] = True
    return total


@kernel
def _survivors(places, num_places, group, counts):
    """Keeps, in place, the positions whose n-gram and next n-gram both repeat; returns their number."""
    kept = 0
    for q in range(num_places - 1):
        if counts[group[q]] > 1 and places[q + 1] == places[q] + 1 and counts[group[q + 1]] > 1:
            places[kept] = places[q]
            kept += 1
    return kept


@kernel
def _repetition(data, offsets, most, table, out):
    hashes, keys = np.empty(most + 1, np.uint64), np.empty(most + 1, np.uint64)
    chars = np.empty(most + 1, np.int64)
    places, group, counts = np.empty(most + 1, np.int32), np.empty(most + 1, np.int32), np.empty(most + 1, np.int32)
    met = np.empty(most + 1, np.bool_)
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        all_chars = np.int64(count_chars(data, start, stop))
        if not all_chars:
            out[row] = np.nan
            continue
        words = _prefixes(data, start, stop, hashes, chars)
        num_places = max(words - 1, 0)
        for q in range(num_places):
            places[q] = q
        power = _BASE
        for n in range(2, _LAST + 1):
            power *= _BASE
            _group(hashes, power, n, places, num_places, keys, table, group, counts)
            if n <= _LAST_TOP:
                found = _top_chars(chars, n, places, num_places, group, counts)
            else:
                found = _duplicate_chars(chars, n, places, num_places, group, met)
            out[row, n - 2] = found / all_chars
            num_places = _survivors(places, num_places, group, counts)


def _score(rows: RowBytes) -> np.ndarray:
    most = most_words(rows.data, rows.offsets)
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _repetition(rows.data, rows.offsets, most, np.empty(table_size(most), np.int32), out)
    return out


REPETITION: Final = Family(SIGNALS, _score)

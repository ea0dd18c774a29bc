"""Hashed words, word pairs and character n-grams of text, counted per row: the raw material of bag-of-words vectors.

Knows bytes and hashes; keeps no vocabulary and weighs nothing. A word is a run of ASCII letters, digits and non-ASCII
bytes, ASCII lower-cased; n-grams are of the word's bytes with its borders, so text without spaces has features too.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final, NamedTuple

import numba
import numpy as np
import pyarrow as pa

from curator.signals.buffers import row_bytes

__all__ = ["NUM_BUCKETS", "HashedTokens", "hash_tokens"]

NUM_BUCKETS: Final = 1 << 20
MAX_BYTES: Final = 1 << 16
"""Bytes of a row that are read: enough to tell what a text is about."""
NGRAMS: Final = (3, 4, 5)
_WORD, _PAIR, _GRAM = np.uint64(1), np.uint64(2), np.uint64(3)
_PRIME: Final = np.uint64(0x100000001B3)
_START: Final = np.uint64(0xCBF29CE484222325)
_MASK: Final = np.uint64(NUM_BUCKETS - 1)
_BORDER: Final = np.uint8(0x20)


class HashedTokens(NamedTuple):
    """CSR counts: row i has buckets[offsets[i]:offsets[i + 1]], ascending and unique, each counts times.

    offsets: int64[n + 1]. buckets: int32[m] in [0, NUM_BUCKETS). counts: float32[m].
    """

    offsets: np.ndarray
    buckets: np.ndarray
    counts: np.ndarray


def hash_tokens(column: pa.Array | pa.ChunkedArray, *, ngrams: bool = True) -> HashedTokens:
    """Counts of the hashed tokens of each row of a string column; null rows have none. Reads MAX_BYTES of a row."""
    rows = row_bytes(column)
    if not len(rows):
        return HashedTokens(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    stops = np.minimum(rows.offsets[1:], rows.offsets[:-1] + MAX_BYTES)
    stops = np.where(rows.valid, stops, rows.offsets[:-1])
    return HashedTokens(*_count(rows.data, rows.offsets[:-1], stops, ngrams))


@numba.njit(nogil=True, cache=True)
def _mix(h):
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@numba.njit(nogil=True, cache=True)
def _folded(byte):
    """The lower-cased byte of a word, or 0 for what parts words."""
    if byte >= 0x80 or 0x61 <= byte <= 0x7A or 0x30 <= byte <= 0x39:
        return byte
    return np.uint8(byte | 0x20) if 0x41 <= byte <= 0x5A else np.uint8(0)


@numba.njit(nogil=True, cache=True)
def _row_tokens(data, start, stop, ngrams, word, out):
    """Writes a row's buckets, repeated as they occur, into out; returns how many."""
    num, before, at = 0, np.uint64(0), start
    while at < stop:
        if _folded(data[at]) == 0:
            at += 1
            continue
        word[0], size, h = _BORDER, 1, _START
        while at < stop and _folded(data[at]) != 0:
            word[size] = _folded(data[at])
            h = (h ^ np.uint64(word[size])) * _PRIME
            size += 1
            at += 1
        word[size] = _BORDER
        size += 1
        out[num] = _mix(h ^ _WORD) & _MASK
        num += 1
        if before != 0:
            out[num] = _mix(_mix(before) ^ h ^ _PAIR) & _MASK
            num += 1
        before = h
        if ngrams:
            num = _word_ngrams(word, size, out, num)
    return num


@numba.njit(nogil=True, cache=True)
def _word_ngrams(word, size, out, num):
    for n in NGRAMS:
        for first in range(size - n + 1):
            h = _START
            for byte in word[first : first + n]:
                h = (h ^ np.uint64(byte)) * _PRIME
            out[num] = _mix(h ^ _GRAM ^ np.uint64(n << 8)) & _MASK
            num += 1
    return num


@numba.njit(nogil=True, cache=True)
def _count(data, starts, stops, ngrams):
    longest = 0
    for row in range(len(starts)):
        longest = max(longest, stops[row] - starts[row])
    per_byte = 2 + (len(NGRAMS) if ngrams else 0)
    found, word = np.empty(per_byte * (longest + 2), np.int32), np.empty(longest + 2, np.uint8)
    offsets = np.zeros(len(starts) + 1, np.int64)
    buckets, counts, used = np.empty(1024, np.int32), np.empty(1024, np.float32), 0
    for row in range(len(starts)):
        num = _row_tokens(data, starts[row], stops[row], ngrams, word, found)
        if used + num > len(buckets):
            grown = max(2 * len(buckets), used + num)
            more_buckets, more_counts = np.empty(grown, np.int32), np.empty(grown, np.float32)
            more_buckets[:used], more_counts[:used] = buckets[:used], counts[:used]
            buckets, counts = more_buckets, more_counts
        ordered = np.sort(found[:num])
        for i in range(num):
            if i and ordered[i] == ordered[i - 1]:
                counts[used - 1] += np.float32(1)
            else:
                buckets[used], counts[used] = ordered[i], np.float32(1)
                used += 1
        offsets[row + 1] = used
    return offsets, buckets[:used].copy(), counts[:used].copy()

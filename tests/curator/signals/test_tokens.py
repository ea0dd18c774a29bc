"""Hashed tokens agree with a plain-Python twin on any text, in any slice."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.signals.tokens import MAX_BYTES, NGRAMS, NUM_BUCKETS, hash_tokens

MASK64 = (1 << 64) - 1


def mix(h: int) -> int:
    h = ((h ^ (h >> 33)) * 0xFF51AFD7ED558CCD) & MASK64
    h = ((h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53) & MASK64
    return h ^ (h >> 33)


def fnv(data: bytes) -> int:
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    return h


def slow_tokens(text: str, ngrams: bool) -> dict[int, int]:
    raw = bytes(b if b >= 0x80 or chr(b).isalnum() else 0x20 for b in text.encode()[:MAX_BYTES]).lower()
    found: Counter[int] = Counter()
    before = 0
    for word in raw.split():
        h = fnv(word)
        found[mix(h ^ 1)] += 1
        if before:
            found[mix(mix(before) ^ h ^ 2)] += 1
        before = h
        bordered = b" " + word + b" "
        for n in NGRAMS if ngrams else ():
            for first in range(len(bordered) - n + 1):
                found[mix(fnv(bordered[first : first + n]) ^ 3 ^ (n << 8))] += 1
    buckets: Counter[int] = Counter()
    for token, count in found.items():
        buckets[token & (NUM_BUCKETS - 1)] += count
    return dict(sorted(buckets.items()))


def as_dicts(column: pa.Array, ngrams: bool) -> list[dict[int, int]]:
    offsets, buckets, counts = hash_tokens(column, ngrams=ngrams)
    spans = pairwise(offsets.tolist())
    return [dict(zip(buckets[a:b].tolist(), counts[a:b].astype(int).tolist(), strict=True)) for a, b in spans]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text(max_size=40)), st.booleans())
def test_agrees_with_plain_python(rows: list[str | None], ngrams: bool) -> None:
    column = pa.array(rows, pa.large_string())
    assert as_dicts(column, ngrams) == [slow_tokens(row or "", ngrams) for row in rows]
    assert as_dicts(column.slice(1), ngrams) == as_dicts(column, ngrams)[1:]


def test_long_rows_and_many_rows() -> None:
    long = "abc déjà " * 20_000
    column = pa.array([long, "x", "Goal! GOAL goal"] * 3)
    expected = [slow_tokens(long, True), slow_tokens("x", True), slow_tokens("Goal! GOAL goal", True)] * 3
    assert as_dicts(column, True) == expected
    assert max(expected[2].values()) == 3


def test_nothing() -> None:
    for column in (pa.array([], pa.string()), pa.array([None, ""], pa.string())):
        offsets, buckets, counts = hash_tokens(column)
        assert offsets.tolist() == [0] * (len(column) + 1) and not len(buckets) and not len(counts)
        assert buckets.dtype == np.int32

"""Sets of shingles as they are kept: what is read of two of them is what comparing the sets finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import minhash
from curator.duplicates.shingles import MOST_BYTES, ascending, overlap, write_set
from curator.signals.buffers import row_bytes
from tests.curator.duplicates.test_signatures import PIECES, slow_shingles

HASHES = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 31).map(lambda k: k << 27), max_size=120)


def packed(hashes: list[int]) -> np.ndarray:
    """The set as `minhash` keeps it."""
    numbers = np.array(hashes, np.uint32)
    count = ascending(numbers, len(numbers), np.empty_like(numbers), np.empty(512, np.uint64))
    assert numbers[:count].tolist() == sorted(set(hashes))
    out = np.empty(2 + MOST_BYTES * count, np.uint8)
    return out[: write_set(numbers, count, out, 0)]


def overlap_of(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    return overlap(x, 0, x.size, y, 0, y.size)


@settings(max_examples=200, deadline=None)
@given(HASHES, HASHES)
def test_a_set_is_counted_as_sets_are(one: list[int], two: list[int]) -> None:
    """Exactly, but for hashes that are alike to the bits kept and stand in one set each."""
    x, y, mine, yours = packed(one), packed(two), set(one), set(two)
    both, either = overlap_of(x, y)
    if not (mine and yours):
        assert (both, either) == (0, 0)
        return
    bits = min(int(x[0]), int(y[0]))
    cut = [np.unique(np.array(sorted(only), np.uint32) >> (32 - bits)) for only in (mine - yours, yours - mine)]
    slack = sum(
        min(count, sum(h >> (32 - bits) == value for h in yours - mine))
        for value in np.intersect1d(*cut).tolist()
        for count in [sum(h >> (32 - bits) == value for h in mine - yours)]
    )
    assert both == len(mine & yours) + slack and both + either == len(mine) + len(yours)
    assert overlap_of(y, x) == (both, either)


def test_hashes_that_crowd_are_sorted_as_well() -> None:
    rng = np.random.default_rng(1)
    packed((np.arange(30_000, dtype=np.uint32)[rng.permutation(30_000)] % 20_000).tolist())


@pytest.mark.parametrize(("one", "two"), [(30, 100_000), (5_000, 70_000), (200_000, 200_000)])
def test_sets_of_every_size_compare(one: int, two: int) -> None:
    rng = np.random.default_rng(one)
    numbers = rng.integers(0, 2**32, one + two, np.uint32)
    mine, yours = numbers[:one].tolist(), numbers[one // 2 : one // 2 + two].tolist()
    both, either = overlap_of(packed(mine), packed(yours))
    wanted = len(set(mine) & set(yours)), len(set(mine) | set(yours))
    by_chance = one / 2 * (two - one / 2) / max(2**16, 64 * min(one, two))
    assert 0 <= both - wanted[0] == wanted[1] - either <= 3 * by_chance + 10


def test_a_set_takes_a_byte_and_a_quarter_a_shingle() -> None:
    rng = np.random.default_rng(0)
    for count in (1_000, 1_500, 30_000, 65_537):
        hashes = rng.integers(0, 2**32, count, np.uint32).tolist()
        assert 1.1 < len(packed(hashes)) / count < 1.4
    assert len(packed([7])) <= 1 + MOST_BYTES and len(packed([])) == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join), st.lists(PIECES, max_size=40).map("".join), st.integers(1, 3))
def test_sets_of_texts_are_those_of_their_shingles(one: str, two: str, ngram: int) -> None:
    sets = row_bytes(minhash(pa.array([one, two]), num_perm=16, ngram=ngram, seed=0).sets)
    a, b, end = sets.offsets.tolist()
    x, y = slow_shingles(one, ngram), slow_shingles(two, ngram)
    both, either = overlap(sets.data, a, b, sets.data, b, end)
    assert both == len(x & y)
    assert either == (len(x | y) if x and y else 0)

"""The keyed permutation: a bijection, its own slow twin, and an inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.epochs.permutation import derive_key, invert, permute, permute_slow

KEYS = st.integers(0, 2**64 - 1)


@given(st.integers(1, 3000), KEYS)
@settings(max_examples=60, deadline=None)
def test_is_a_bijection_and_inverts(n, key):
    every = np.arange(n)
    out = permute(every, n, key)
    assert np.array_equal(np.sort(out), every)
    assert np.array_equal(invert(out, n, key), every)


@given(st.integers(1, 10**12), KEYS, st.data())
@settings(max_examples=60, deadline=None)
def test_equals_its_slow_twin(n, key, data):
    index = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))
    assert permute(np.array(index), n, key).tolist() == [permute_slow(i, n, key) for i in index]


@pytest.mark.parametrize("n", [2, 3, 4097, 2**16 + 1, 33_333_334, 2**31 + 5, 2**32, 2**32 + 1])
def test_tables_of_the_rounds_equal_the_rounds(n):
    """Many elements of one key are looked up in tables, few are computed; above 2^32 all are."""
    index = np.random.default_rng(3).integers(0, n, 20_000)
    index[:2] = 0, n - 1
    together = permute(index, n, 11)
    assert together[:300].tolist() == [permute_slow(int(i), n, 11) for i in index[:300]]
    alone = [permute(index[i : i + 1], n, 11) for i in range(300)]
    assert np.concatenate(alone).tolist() == together[:300].tolist()
    assert np.array_equal(invert(together, n, 11), index)


def test_a_key_an_element_equals_one_key_at_a_time():
    keys = np.array([5, 6, 5, 2**64 - 1], dtype=np.uint64)
    index = np.array([0, 1, 2, 3])
    together = permute(index, 100, keys)
    assert together.tolist() == [permute_slow(int(i), 100, int(k)) for i, k in zip(index, keys, strict=True)]


def test_order_looks_shuffled():
    """Neighbours land apart and no place is favoured: chi-square of 64 cells over 500 keys, 63 degrees of freedom."""
    out = permute(np.arange(100_000), 100_000, 7)
    assert abs(np.corrcoef(out[:-1], out[1:])[0, 1]) < 0.02
    counts = np.zeros((64, 64))
    for key in range(500):
        counts[np.arange(64), permute(np.arange(64), 64, derive_key(key, "chi"))] += 1
    expected = 500 / 64
    chi2 = ((counts - expected) ** 2 / expected).sum(axis=1)
    assert chi2.mean() == pytest.approx(63, rel=0.15)


def test_keys_depend_on_every_word():
    assert len({derive_key(0), derive_key(1), derive_key(0, "a"), derive_key(0, "a", 1), derive_key(0, 1, "a")}) == 5


def test_outside_is_refused():
    with pytest.raises(ValueError, match=r"outside \[0, 5\)"):
        permute(np.array([5]), 5, 0)

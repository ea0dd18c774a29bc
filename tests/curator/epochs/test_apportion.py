"""Largest remainder: exact totals, each count the floor or the ceiling of its share."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.epochs.apportion import apportion, exact_shares

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=5).filter(any)


@given(st.integers(0, 10**9), WEIGHTS)
def test_quota_rule(total, weights):
    shares = exact_shares(weights)
    counts = apportion(total, shares)
    assert sum(counts) == total and sum(shares) == 1
    assert all(math.floor(total * s) <= c <= math.ceil(total * s) for c, s in zip(counts, shares, strict=True))


def test_decimals_mean_what_they_say():
    assert apportion(10, exact_shares((0.7, 0.2, 0.1))) == (7, 2, 1)
    assert apportion(4, exact_shares((1, 1, 1))) == (2, 1, 1)
    assert apportion(5, exact_shares((1, 1, 1))) == (2, 2, 1)


@pytest.mark.parametrize("weights", [(0, 0, 0), (1, -1, 1)])
def test_no_shares(weights):
    with pytest.raises(ValueError, match="zero or more"):
        exact_shares(weights)

"""Pairs of rows that share a key: few in a crowd, the same whether rows came at once or later."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates.buckets import SMALL_BUCKET, bucket_pairs


def slow(keys: list[int]) -> set[tuple[int, int, bool]]:
    pairs = set()
    for key in set(keys):
        rows = [row for row, other in enumerate(keys) if other == key]
        for place, row in enumerate(rows):
            if key % 2 == 0:
                partners = rows[:1]
            elif place < SMALL_BUCKET:
                partners = rows[:place]
            else:
                partners = [rows[0], rows[place - 1]]
            pairs |= {(partner, row, key % 2 == 0) for partner in partners if partner < row}
    return pairs


def found(keys: list[int], rows: list[int], first_new: int = 0) -> list[tuple[int, int, bool]]:
    pairs = bucket_pairs(np.array(keys, np.uint64), np.array(rows, np.int64), first_new)
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), pairs.exact.tolist(), strict=True))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=80), st.data())
def test_pairs_are_those_of_the_slow_twin_in_any_order(keys: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(keys))))
    pairs = found([keys[row] for row in order], order)
    assert set(pairs) == slow(keys) and len(pairs) == len(set(pairs))
    assert [pair[:2][::-1] for pair in pairs] == sorted(pair[:2][::-1] for pair in pairs)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=80), st.integers(0, 80))
def test_rows_that_come_later_add_pairs_and_change_none(keys: list[int], cut: int) -> None:
    cut = min(cut, len(keys))
    rows = list(range(len(keys)))
    before, after = found(keys[:cut], rows[:cut]), found(keys, rows, first_new=cut)
    assert set(before) | set(after) == slow(keys)
    assert not set(before) & set(after)


def test_a_crowd_costs_two_pairs_a_row() -> None:
    pairs = found([7] * 500, list(range(500)))
    assert len(pairs) == SMALL_BUCKET * (SMALL_BUCKET - 1) // 2 + 2 * (500 - SMALL_BUCKET)
    assert {(0, row, False) for row in range(1, 500)} <= set(pairs)
    assert len(list(combinations(range(500), 2))) > 60 * len(pairs)

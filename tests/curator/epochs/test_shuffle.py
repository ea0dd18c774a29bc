"""Walks: every row once a pass, no repeat before a pass ends, windows that hold together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.epochs.shuffle import Walk

SHUFFLES = st.sampled_from(["full", "window", "none"])


def walks(shuffle, num_rows, counts, block_rows=3, window_blocks=2):
    cursor = 0
    for epoch, count in enumerate(counts):
        yield Walk(shuffle, num_rows, cursor, count, 11, 1000 + epoch, block_rows, window_blocks)
        cursor += count


@given(SHUFFLES, st.integers(1, 60), st.lists(st.integers(0, 130), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_no_row_repeats_before_all_were_seen(shuffle, num_rows, counts):
    rows = np.concatenate([walk.rows(np.arange(walk.count)) for walk in walks(shuffle, num_rows, counts)])
    for begin in range(0, len(rows), num_rows):
        one_pass = rows[begin : begin + num_rows]
        assert len(set(one_pass.tolist())) == len(one_pass)
    for walk in walks(shuffle, num_rows, counts):
        if walk.count <= num_rows:
            assert len(set(walk.rows(np.arange(walk.count)).tolist())) == walk.count


@given(SHUFFLES, st.integers(1, 60), st.lists(st.integers(1, 130), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_windows_tile_the_epoch(shuffle, num_rows, counts):
    for walk in walks(shuffle, num_rows, counts):
        low = 0
        while low < walk.count:
            window = walk.window(low)
            assert window[0] == low < window[1] <= low + walk.window_rows
            assert all(walk.window(i) == window for i in range(*window))
            low = window[1]
        assert low == walk.count


@given(SHUFFLES, st.integers(1, 200), st.data())
@settings(max_examples=100, deadline=None)
def test_any_part_equals_the_whole(shuffle, num_rows, data):
    walk = Walk(shuffle, num_rows, data.draw(st.integers(0, 500)), 300, 5, 6, 4, 3)
    some = np.array(data.draw(st.lists(st.integers(0, 299), min_size=1, max_size=20)))
    assert walk.rows(some).tolist() == walk.rows(np.arange(300))[some].tolist()


def test_a_window_draws_from_few_blocks():
    """What makes it cheap to read: a window of 16 blocks touches at most twice as many runs of 64 rows."""
    walk = Walk("window", 64_000, 12_345, 40_000, 1, 2, 64, 16)
    for low in range(0, 40_000, 1024):
        rows = walk.rows(np.arange(*walk.window(low)))
        assert len(np.unique(rows // 64)) <= 33
    assert len(np.unique(walk.rows(np.arange(1024)) // 6400)) >= 5  # and from all over


def test_epochs_differ_in_order_even_when_each_is_one_pass():
    for shuffle in ("full", "window"):
        first, second = (walk.rows(np.arange(100)) for walk in walks(shuffle, 100, [100, 100]))
        assert set(first) == set(second) and first.tolist() != second.tolist()
    first, second = (walk.rows(np.arange(100)) for walk in walks("none", 100, [100, 100]))
    assert first.tolist() == second.tolist() == list(range(100))


def test_few_windows_and_many_windows_agree():
    """The fast road for neighbouring places and the one for scattered ones are the same permutation."""
    walk = Walk("window", 5000, 1234, 4000, 5, 6, 8, 4)
    everything = walk.rows(np.arange(4000))
    assert [walk.rows(np.array([i]))[0] for i in range(0, 4000, 37)] == everything[::37].tolist()

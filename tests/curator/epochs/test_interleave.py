"""Interleaving: exact totals, every batch within one of the ratio, and counts by formula equal to counting."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.epochs.apportion import apportion, exact_shares
from curator.epochs.interleave import PADDING, Interleave, floor_sum

WEIGHTS = st.tuples(*[st.integers(0, 20)] * 3).filter(any)


def lay_out(batch, num_full, tail, weights, padded=False, key=9):
    shares = exact_shares(weights)
    return Interleave(batch, num_full, apportion(num_full * batch, shares), apportion(tail, shares), padded, key)


@given(st.integers(0, 300), st.integers(1, 50), st.integers(0, 200), st.integers(0, 200))
def test_floor_sum_equals_adding_up(n, m, a, b):
    assert floor_sum(n, m, a, b) == sum((a * i + b) // m for i in range(n))


@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 39), WEIGHTS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_laws(batch, num_full, tail, weights, padded):
    mix = lay_out(batch, num_full, min(tail, batch - 1), weights, padded)
    slots = mix.positions(0, mix.length)
    assert len(slots.difficulty) == mix.length
    shares = [float(share) for share in exact_shares(weights)]
    for g in range(mix.num_batches):
        part = slots.difficulty[g * batch : g * batch + mix.batch_rows(g)]
        rows = (part != PADDING).sum()
        for d in range(3):
            assert abs((part == d).sum() - rows * shares[d]) < 1
            assert mix.before(g)[d] == (slots.difficulty[: g * batch] == d).sum()
    for d in range(3):
        nth = slots.nth[slots.difficulty == d]
        assert nth.tolist() == list(range(mix.full[d] + mix.tail[d])), "in order of position"
        for n in nth[:: max(len(nth) // 5, 1)].tolist():
            g = mix.batch_of(d, n)
            assert n in slots.nth[g * batch : (g + 1) * batch][slots.difficulty[g * batch : (g + 1) * batch] == d]


@given(st.integers(1, 12), st.integers(0, 20), st.integers(0, 11), WEIGHTS, st.data())
@settings(max_examples=100, deadline=None)
def test_any_range_and_any_slices_equal_the_whole(share, num_full, tail, weights, data):
    batch = 4 * share
    mix = lay_out(batch, num_full, min(tail, batch - 1), weights)
    whole = mix.positions(0, mix.length)
    start = data.draw(st.integers(0, mix.length))
    stop = data.draw(st.integers(start, mix.length))
    part = mix.positions(start, stop)
    assert part.nth.tolist() == whole.nth[start:stop].tolist()
    assert part.difficulty.tolist() == whole.difficulty[start:stop].tolist()
    batches = np.array(sorted(data.draw(st.sets(st.integers(0, max(mix.num_batches - 1, 0)), max_size=5))))
    if mix.num_batches and batches.size:
        quarters = [mix.slices(batches, r * share, (r + 1) * share) for r in range(4)]
        expected = np.concatenate([np.arange(g * batch, g * batch + mix.batch_rows(g)) for g in batches])
        together = np.concatenate([q.nth * 4 + q.difficulty for q in quarters])
        assert sorted(together.tolist()) == sorted((whole.nth * 4 + whole.difficulty)[expected].tolist())


def test_ceilings_are_spread_over_the_epoch():
    mix = lay_out(64, 1000, 0, (7, 2, 1))
    easy = np.array([mix.before(g)[0] for g in range(1001)])
    assert np.abs(easy - np.arange(1001) * 44.8).max() < 20  # all ceilings first would stray by 160

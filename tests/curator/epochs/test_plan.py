"""The plan: its laws over whole epochs, its id, and what it refuses."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curator.epochs.curriculum import Constant, curriculum_of
from curator.epochs.interleave import Interleave
from curator.epochs.plan import PADDING, EpochPlan, rank_slice
from curator.errors import RequestError

LIVE = st.tuples(*[st.integers(0, 90)] * 3)
CURRICULA = st.sampled_from(
    [{"kind": "staged"}, {"kind": "linear"}, {"kind": "constant"}, {"kind": "constant", "easy": 3}]
)


@st.composite
def plans(draw):
    fields = {
        "live": draw(LIVE),
        "curriculum": draw(CURRICULA),
        "num_epochs": draw(st.integers(1, 7)),
        "seed": draw(st.integers(0, 9)),
        "global_batch_size": draw(st.integers(1, 24)),
        "epoch_size": draw(st.none() | st.integers(1, 200)),
        "shuffle": draw(st.sampled_from(["full", "window", "none"])),
        "tail": draw(st.sampled_from(["drop", "pad", "short"])),
        "block_rows": draw(st.integers(1, 9)),
        "window_blocks": draw(st.integers(1, 4)),
    }
    try:
        return EpochPlan(manifest="man_test", **fields)
    except RequestError:
        assume(False)


@given(plans())
@settings(max_examples=150, deadline=None)
def test_laws_over_all_epochs(plan):
    """Every batch within one of the ratio; no row of a difficulty comes back before all of them came."""
    walked = [[], [], []]
    for epoch in range(plan.num_epochs):
        length, size, ratios = plan.num_positions(epoch), plan.global_batch_size, plan.ratios(epoch)
        found = plan.positions(epoch, 0, length)
        for start in range(0, length, size):
            part = found.difficulty[start : start + size]
            rows = int((part != PADDING).sum())
            assert all(abs((part == d).sum() - rows * ratios[d]) < 1 + 1e-9 for d in range(3))
        assert plan.num_batches(epoch) == -(-length // size)
        for d in range(3):
            mine = found.rank[found.difficulty == d].tolist()
            assert len(mine) == plan.quotas(epoch)[d]
            walked[d].append(mine)
            if plan.epoch_size is None:
                assert len(set(mine)) == len(mine), "the default size repeats nothing"
        assert (found.rank[found.difficulty == PADDING] == -1).all()
    for d in range(3):
        n = plan.live[d]
        seen = [k for epoch in walked[d] for k in epoch]
        assert set(seen) <= set(range(n))
        for k in range(0, len(seen), max(n, 1)):
            assert len(set(seen[k : k + n])) == len(seen[k : k + n]), "no row comes back before all others came"
        ends = np.cumsum([len(epoch) for epoch in walked[d]])
        for end in ends.tolist():  # the walk is a circle: at any epoch's end rows came equally often, or once more
            counts = np.bincount(seen[:end], minlength=n)
            assert n == 0 or counts.max() - counts.min() <= 1


@given(plans(), st.data())
@settings(max_examples=80, deadline=None)
def test_any_range_equals_the_whole(plan, data):
    epoch = data.draw(st.integers(0, plan.num_epochs - 1))
    whole = plan.positions(epoch, 0, plan.num_positions(epoch))
    start = data.draw(st.integers(0, len(whole.rank)))
    stop = data.draw(st.integers(start, len(whole.rank)))
    part = plan.positions(epoch, start, stop)
    assert np.array_equal(part.rank, whole.rank[start:stop])
    assert np.array_equal(part.difficulty, whole.difficulty[start:stop])


def test_default_size_is_the_largest_that_repeats_nothing():
    plan = EpochPlan(manifest="m", live=(100, 100, 100), global_batch_size=10)
    assert [plan.num_positions(e) for e in (0, 3, 9)] == [140, 200, 160]
    assert plan.quotas(0) == (98, 28, 14)


@given(
    live=st.tuples(*[st.integers(1, 400)] * 3),
    batch=st.integers(1, 600),
    tail=st.sampled_from(["pad", "short"]),
    curriculum=st.sampled_from(["staged", "linear", "constant"]),
)
@settings(max_examples=150, deadline=None)
def test_without_a_size_short_and_padded_epochs_leave_no_row_they_could_take(live, batch, tail, curriculum):
    """As many rows as the ratios allow without a repeat, to within the roundings of the batches and of the tail."""
    fields = {"manifest": "m", "live": live, "global_batch_size": batch, "curriculum": curriculum_of(curriculum)}
    try:
        plan = EpochPlan(**fields, tail=tail)
    except RequestError as error:
        assert "nothing to draw from" not in str(error) and min(live) < 10
        return
    for epoch in range(plan.num_epochs):
        drawn = plan.quotas(epoch)
        assert all(taken <= rows for taken, rows in zip(drawn, live, strict=True))
        ideal = min(rows / share for rows, share in zip(live, plan.ratios(epoch), strict=True))
        # one row too many by rounding costs at most 1/share rows of the whole
        assert sum(drawn) >= ideal - 2 / min(plan.ratios(epoch)) - 1
        assert sum(drawn) == plan.num_positions(epoch) or tail == "pad"


def test_a_batch_larger_than_the_data_is_one_short_batch():
    plan = EpochPlan(manifest="m", live=(100, 100, 100), global_batch_size=1024, curriculum=Constant(), tail="short")
    assert (plan.num_positions(0), plan.num_batches(0), plan.quotas(0)) == (300, 1, (100, 100, 100))


def test_cost_does_not_grow_with_epochs_of_the_same_ratios(monkeypatch):
    """A plan of a hundred thousand epochs lays out only those asked for."""
    laid_out = []
    monkeypatch.setattr("curator.epochs.plan.Interleave", lambda *a: laid_out.append(a) or Interleave(*a))
    plan = EpochPlan(manifest="m", live=(100, 100, 100), num_epochs=100_000)
    assert plan.positions(99_999, 0, 64).rank.size == 64
    assert len(laid_out) == 1 and len(plan._splits) == 3


def test_the_middle_of_a_hundred_million_rows():
    plan = EpochPlan(manifest="m", live=(33_333_334, 33_333_333, 33_333_333), global_batch_size=256)
    found = plan.positions(5, 30_000_000, 30_065_536)
    assert len(set(zip(found.difficulty.tolist(), found.rank.tolist(), strict=True))) == 65_536


def test_equal_fields_equal_id_and_another_field_another_id():
    fields = {"manifest": "m", "live": (50, 50, 50), "global_batch_size": 5}
    plan = EpochPlan(**fields)
    assert plan.id == EpochPlan(**fields).id and plan.id.startswith("epl_")
    assert EpochPlan.model_validate_json(plan.model_dump_json()) == plan
    changes = [{"seed": 1}, {"num_epochs": 3}, {"shuffle": "full"}, {"tail": "pad"}, {"curriculum": Constant()}]
    changes += [{"epoch_size": 50}, {"block_rows": 7}, {"manifest": "n"}, {"live": (50, 50, 51)}]
    assert len({plan.id, *(EpochPlan(**{**fields, **change}).id for change in changes)}) == 10


def test_the_seed_changes_the_order():
    orders = [EpochPlan(manifest="m", live=(90, 90, 90), seed=s).positions(0, 0, 64).rank.tolist() for s in range(3)]
    assert len({tuple(order) for order in orders}) == 3


def test_what_cannot_be_filled_is_refused():
    with pytest.raises(RequestError, match="cannot fill one global batch of 64"):
        EpochPlan(manifest="m", live=(5, 5, 5))
    with pytest.raises(RequestError, match=r"nothing to draw from for hard.*easy: 1, medium: 1, hard: 0"):
        EpochPlan(manifest="m", live=(50, 50, 0), epoch_size=64)
    only_easy = Constant(easy=1, medium=0, hard=0)
    assert EpochPlan(manifest="m", live=(64, 0, 0), curriculum=only_easy).quotas(0) == (64, 0, 0)
    plan = EpochPlan(manifest="m", live=(100, 100, 100))
    for call in (
        lambda: plan.positions(10, 0, 1),
        lambda: plan.positions(0, 5, 4),
        lambda: plan.positions(0, 0, 10**6),
    ):
        with pytest.raises(RequestError):
            call()
    with pytest.raises(ValueError, match="version"):
        EpochPlan(manifest="m", live=(100, 100, 100), version=2)


@given(st.integers(1, 64), st.integers(1, 64))
def test_rank_slices_tile_the_batch(share, world_size):
    edges = [rank_slice(share * world_size, rank, world_size) for rank in range(world_size)]
    assert edges == [(rank * share, (rank + 1) * share) for rank in range(world_size)]

"""The journal: what makes an adaptive plan one order, recorded before it is served and replayed from its reports."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.epochs.adaptive import Adaptive, Losses
from curator.epochs.curriculum import Mix
from curator.epochs.journal import Journal
from curator.epochs.plan import PADDING, EpochPlan
from curator.errors import ConflictError, IntegrityError, RequestError
from curator.storage import Store

LOSS = st.floats(0.01, 20, allow_nan=False)
REPORTS = st.lists(st.builds(Losses, easy=LOSS, medium=LOSS, hard=LOSS), min_size=1, max_size=6)
OPTIONS = {
    "global_batch_size": st.integers(1, 24),
    "epoch_size": st.none() | st.integers(1, 200),
    "shuffle": st.sampled_from(["full", "window", "none"]),
    "tail": st.sampled_from(["drop", "pad", "short"]),
    "seed": st.integers(0, 5),
    "block_rows": st.integers(1, 9),
}


def plan_of(**fields) -> EpochPlan:
    return EpochPlan(**{"manifest": "m", "live": (90, 80, 70), "curriculum": Adaptive(), "num_epochs": 7, **fields})


def recorded(plan, reports) -> Journal:
    journal = Journal.begin(plan)
    for losses in reports:
        journal = journal.after(plan, losses)
    return journal


@given(st.fixed_dictionaries(OPTIONS), REPORTS)
@settings(max_examples=80, deadline=None)
def test_the_laws_of_every_plan_hold_under_recorded_ratios(options, reports):
    """Every batch within one of its epoch's ratio; no row of a difficulty comes back before all of them came."""
    try:
        plan = plan_of(**options)
        plan = recorded(plan, reports).on(plan)
    except RequestError as error:
        assert "would be empty" in str(error)
        return
    walked = [[], [], []]
    for epoch in range(plan.num_known):
        found, ratios = plan.positions(epoch, 0, plan.num_positions(epoch)), plan.ratios(epoch)
        for start in range(0, len(found.rank), plan.global_batch_size):
            part = found.difficulty[start : start + plan.global_batch_size]
            rows = int((part != PADDING).sum())
            assert all(abs((part == d).sum() - rows * ratios[d]) < 1 + 1e-9 for d in range(3))
        for d in range(3):
            walked[d] += found.rank[found.difficulty == d].tolist()
    for d, n in enumerate(plan.live):
        for k in range(0, len(walked[d]), n):
            assert len(set(walked[d][k : k + n])) == len(walked[d][k : k + n])


@given(REPORTS)
@settings(max_examples=60, deadline=None)
def test_a_journal_replays_and_round_trips(reports):
    plan = plan_of()
    journal = recorded(plan, reports)
    assert journal.replay(plan) == journal == Journal.model_validate_json(journal.model_dump_json())
    assert journal.replay(journal.on(plan)) == journal, "twice in a row, on the plan that has it"
    longer = journal.on(plan)
    assert longer.id == plan.id and longer.num_known == len(reports) + 1
    assert EpochPlan.model_validate_json(longer.model_dump_json()) == longer


def test_the_plan_digest_covers_the_rule_and_an_epochs_digest_its_ratios():
    plan = plan_of()
    assert plan_of(curriculum=Adaptive(least=0.02)).id != plan.id
    one = recorded(plan, [Losses(easy=1, medium=1, hard=1), Losses(easy=1, medium=1, hard=0.5)]).on(plan)
    two = recorded(plan, [Losses(easy=1, medium=1, hard=1), Losses(easy=0.5, medium=1, hard=1)]).on(plan)
    assert one.id == two.id == plan.id
    assert [one.epoch_id(e) == two.epoch_id(e) for e in range(3)] == [True, True, False]
    assert one.ratios(2).hard > two.ratios(2).hard
    fixed = EpochPlan(manifest="m", live=(90, 80, 70), num_epochs=7)
    assert len({fixed.epoch_id(e) for e in range(7)}) == 7
    assert not np.array_equal(one.positions(2, 0, 64).rank, two.positions(2, 0, 64).rank)


def test_an_epoch_not_decided_yet_is_refused():
    plan = plan_of()
    assert plan.ratios(0) == (0.7, 0.2, 0.1) and plan.num_positions(0)
    for call in (lambda: plan.ratios(1), lambda: plan.positions(1, 0, 1), lambda: plan.epoch_id(1)):
        with pytest.raises(ConflictError, match=r"epoch 1 of epl_.* not decided yet.*losses of epoch 0"):
            call()
    with pytest.raises(RequestError, match="outside 0 to 6"):
        plan.ratios(7)
    full = recorded(plan, [Losses()] * 6)
    with pytest.raises(RequestError, match="all 7 epochs"):
        full.after(plan, Losses())
    with pytest.raises(RequestError, match="staged curriculum, which needs no journal"):
        Journal.begin(EpochPlan(manifest="m", live=(90, 90, 90)))
    with pytest.raises(ValueError, match="only an adaptive one"):
        EpochPlan(manifest="m", live=(90, 90, 90), recorded=(Mix(easy=1, medium=1, hard=1),))


def test_saved_once_an_epoch_stays_as_it_is(tmp_path):
    store, plan = Store.open(tmp_path), plan_of()
    assert Journal.load(store, plan) == Journal.begin(plan)
    journal = recorded(plan, [Losses(easy=2, medium=2, hard=2)])
    journal.save(store)
    assert Journal.load(store, plan) == journal
    longer = journal.after(plan, Losses(easy=1, medium=2, hard=2))
    longer.save(store)
    longer.save(store)
    assert Journal.load(store, plan) == longer
    with pytest.raises(ConflictError, match=r"epoch 2 of epl_.* recorded with other reports"):
        journal.after(plan, Losses(easy=2, medium=1, hard=2)).save(store)
    assert Journal.load(store, plan) == longer


def test_a_changed_journal_is_refused(tmp_path):
    store, plan = Store.open(tmp_path), plan_of()
    journal = recorded(plan, [Losses(easy=2, medium=2, hard=2), Losses(easy=1, medium=2, hard=2)])
    journal.save(store)
    name = f"journals/{plan.id}/000002.json"
    changed = journal.entries[2].model_copy(update={"ratios": Mix(easy=1, medium=0, hard=0)})
    store.write_bytes(name, changed.model_dump_json().encode())
    with pytest.raises(IntegrityError, match=r"epoch 2 of the journal.*was changed"):
        Journal.load(store, plan)
    store.write_bytes(name, b"{")
    with pytest.raises(IntegrityError, match=r"000002\.json"):
        Journal.load(store, plan)
    with pytest.raises(ConflictError, match="begin another journal"):
        journal.on(plan_of(seed=9))

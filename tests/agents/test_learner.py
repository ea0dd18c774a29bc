"""The whole judge on small pools: what it must find, what it must never learn from, and that its bits are its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.audit import taught_apart
from agents.gate import average_precision
from agents.learner import MAX_ROWS, Judge, learn
from agents.reward import critic_reward
from agents.student import Desk
from agents.types import REASONS, Decisions, Rows
from curator.errors import InputError, IntegrityError, TrustedError
from curator.recipe.policy import PolicySpec
from curator.verdict import DROP, KEEP, POLICY_REASONS, RELABEL

QUICK = PolicySpec(rounds=1, max_false_drop=0.1)


def taught(pool: Any, truth: np.ndarray, classes: int = 3, config: PolicySpec = QUICK, seed: int = 0) -> Judge:
    return learn(pool.rows, truth, classes=classes, task="classification", config=config, seed=seed)


def equal(one: Decisions, two: Decisions) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in vars(one))


@pytest.fixture(scope="module")
def case(make_pool: Callable[..., Any]) -> tuple[Any, np.ndarray, Judge]:
    """Systematic errors, 300 trusted rows of 1,500, and the judge taught by them."""
    pool = make_pool(1_500, systematic=True)
    truth = pool.trusted(300, 0)
    return pool, truth, taught(pool, truth)


def test_finds_errors_that_the_given_labels_hide(case: tuple[Any, np.ndarray, Judge]) -> None:
    pool, truth, judge = case
    open_rows = truth < 0
    ap = average_precision(judge.badness(pool.rows)[open_rows], pool.bad[open_rows])
    blind = taught(pool, np.full(len(truth), -1))
    blind_ap = average_precision(blind.badness(pool.rows)[open_rows], pool.bad[open_rows])
    assert ap > 0.75 and ap > blind_ap + 0.05


def test_keeps_the_promise_and_still_drops(case: tuple[Any, np.ndarray, Judge]) -> None:
    pool, truth, judge = case
    actions = judge.decide(pool.rows).actions
    good, bad = (truth < 0) & ~pool.bad, (truth < 0) & pool.bad
    assert judge.scorecard["promise"]["basis"] == "audited"
    assert (actions[good] == DROP).mean() < 0.2 and (actions[bad] != KEEP).mean() > 0.4


def test_pieces_decide_as_the_whole(case: tuple[Any, np.ndarray, Judge]) -> None:
    pool, _, judge = case
    whole = judge.decide(pool.rows)
    for size in (1, 37, 1024):
        stop = 60 if size == 1 else len(pool.rows)
        parts = [judge.decide(pool.rows.take(slice(i, min(i + size, stop)))) for i in range(0, stop, size)]
        first = Decisions(**{name: value[:stop] for name, value in vars(whole).items()})
        assert equal(Decisions.concat(parts), first), f"pieces of {size}"
    backwards = judge.decide(pool.rows.take(np.arange(len(pool.rows))[::-1]))
    assert equal(Decisions(**{name: value[::-1] for name, value in vars(backwards).items()}), whole)


def test_same_rows_in_any_order_teach_the_same_judge(case: tuple[Any, np.ndarray, Judge]) -> None:
    pool, truth, judge = case
    order = np.random.default_rng(3).permutation(len(truth))
    again = learn(pool.rows.take(order), truth[order], classes=3, task="classification", config=QUICK, seed=0)
    assert again.version == judge.version and again.scorecard == judge.scorecard
    assert taught(pool, truth, seed=1).version != judge.version


def test_saves_and_loads_and_refuses_strangers(case: tuple[Any, np.ndarray, Judge], tmp_path: Path) -> None:
    pool, _, judge = case
    judge.save(tmp_path)
    loaded = Judge.load(tmp_path)
    assert loaded.version == judge.version and loaded.scorecard == judge.scorecard
    assert equal(loaded.decide(pool.rows), judge.decide(pool.rows))
    loaded.save(tmp_path / "again")
    assert Judge.load(tmp_path / "again").version == judge.version
    card = tmp_path / "judge.json"
    card.write_text(card.read_text().replace('"judge": "2"', '"judge": "99"'))
    with pytest.raises(IntegrityError, match="99"):
        Judge.load(tmp_path)


def test_no_row_is_audited_by_a_student_that_saw_its_truth(make_pool: Callable[..., Any]) -> None:
    """Turning the truths of a fold's rows around changes nothing of how that fold is seen, and something elsewhere."""
    pool = make_pool(700)
    order = np.argsort([row.tobytes() for row in pool.rows.ids])
    rows, truth = pool.rows.take(order), pool.truth[order]
    desk = Desk.lay(rows, 3, can_relabel=True, seed=0)
    at = np.sort(np.random.default_rng(0).permutation(700)[:150])
    before = taught_apart(desk, at, truth[at], 0)
    mine = before[1].in_T
    after = taught_apart(desk, at, np.where(mine, (truth[at] + 1) % 3, truth[at]), 0)
    seen = [part.student.prior.badness(part.student.seen)[part.at_H] for part in (before[1], after[1])]
    assert mine.any() and np.array_equal(*seen)
    others = [part.student.prior.badness(part.student.seen)[part.at_H] for part in (before[0], after[0])]
    assert not np.array_equal(*others)


def test_the_audit_ranks_as_fresh_rows_are_ranked(case: tuple[Any, np.ndarray, Judge]) -> None:
    """Judged in-sample, trusted rows would separate far better than fresh ones, and thresholds on them would lie."""
    pool, truth, judge = case
    fresh = truth < 0
    ap = average_precision(judge.badness(pool.rows)[fresh], pool.bad[fresh])
    assert abs(judge.scorecard["calibration_ap"] - ap) < 0.1


def test_shuffled_truth_teaches_nothing(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(1_200, noise=0.25)
    truth = pool.trusted(300, 0)
    trusted = np.flatnonzero(truth >= 0)
    rng = np.random.default_rng(0)
    shuffled = truth.copy()
    shuffled[trusted] = rng.integers(0, 3, len(trusted))
    open_rows = truth < 0
    ranking = [taught(pool, t).badness(pool.rows)[open_rows] for t in (shuffled, np.full(len(truth), -1), truth)]
    lost, blind, real = (average_precision(r, pool.bad[open_rows]) for r in ranking)
    assert lost < blind + 0.02 and real > lost


def test_permuted_rewards_earn_no_residual(make_pool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(700, noise=0.25)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("agents.student.critic_reward", lambda *credit: critic_reward(*credit)[order])
    judge = taught(pool, pool.trusted(200, 0))
    assert judge.scorecard["shipped"] == "prior" and not judge.scorecard["gate"]["passed"]


def test_copies_of_wrong_rows_neither_clear_each_other_nor_damn_the_rest(make_pool: Callable[..., Any]) -> None:
    """Twenty rows with wrong labels, thirty copies of each: neighbours all agree, and the judge still is not fooled."""
    pool = make_pool(900, noise=0.2)
    truth = pool.trusted(300, 0)
    wrong = np.flatnonzero(pool.bad & (truth < 0))[:20].repeat(30)
    copies = pool.rows.take(wrong)
    ids = np.random.default_rng(9).integers(0, 256, (len(wrong), 16)).astype(np.uint8)
    rows = Rows.concat([pool.rows, replace(copies, ids=ids)])
    judge = learn(rows, np.append(truth, np.full(len(wrong), -1)), classes=3, task="classification", config=QUICK)
    fresh, actions = truth < 0, judge.decide(pool.rows).actions
    alone = average_precision(taught(pool, truth).badness(pool.rows)[fresh], pool.bad[fresh])
    assert average_precision(judge.badness(pool.rows)[fresh], pool.bad[fresh]) > alone - 0.1
    assert (actions[fresh & ~pool.bad] == DROP).mean() < 0.2


def test_a_promise_for_every_label(make_pool: Callable[..., Any]) -> None:
    """Each label has a threshold of its own; one with too few good rows in the audit is never dropped."""
    pool = make_pool(900, noise=0.2)
    labels = np.where((pool.rows.labels == 2) & (np.arange(900) % 8 > 0), 0, pool.rows.labels)
    rows = pool.rows.relabelled(labels)
    truth = pool.trusted(300, 0)
    config = PolicySpec(rounds=0, max_false_drop=0.1, per_class=True, relabel_fdr=0)
    judge = learn(rows, truth, classes=3, task="classification", config=config)
    promise, actions = judge.scorecard["promise"], judge.decide(rows).actions
    assert promise["drop_above"][2] is None and promise["drop_above"][0] is not None and promise["missing_rows"] > 0
    untrusted = truth < 0
    assert not (actions[untrusted & (labels == 2)] == DROP).any() and (actions[untrusted & (labels == 0)] == DROP).any()


def test_clean_labels_lose_no_more_than_promised(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(1_200, noise=0.0)
    judge = taught(pool, pool.trusted(300, 0))
    assert (judge.decide(pool.rows).actions == DROP).mean() <= 0.1
    assert judge.scorecard["gate"]["ap_prior"] is None and judge.scorecard["shipped"] == "prior"


def test_a_class_of_noise_alone_and_a_class_never_given(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(900, classes=3, noise=0.1)
    labels = pool.rows.labels.copy()
    labels[labels == 2] = 0
    rows = pool.rows.relabelled(np.where(np.arange(900) % 9 == 0, 3, labels))
    truth = pool.trusted(200, 0)
    judge = learn(rows, truth, classes=5, task="classification", config=QUICK)
    score = judge.decide(rows).label_score
    assert np.isfinite(score).all() and score[rows.labels == 3].mean() < score[rows.labels == 1].mean()


def test_no_trusted_row_means_a_simulated_promise(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(1_200, noise=0.2)
    judge = taught(pool, np.full(1_200, -1))
    card = judge.scorecard
    assert card["prior"] == "self_corruption" and card["promise"]["basis"] == "simulated"
    assert "no trusted row" in card["promise"]["words"] and card["promise"]["missing_rows"] > 0
    dropped = judge.decide(pool.rows).actions == DROP
    assert dropped.any() and dropped[pool.bad].mean() > 5 * dropped[~pool.bad].mean()
    assert dropped.mean() <= QUICK.max_false_drop, "whatever is dropped, no more good rows than promised can be lost"
    assert card["warnings"] == [card["promise"]["words"]]
    assert average_precision(judge.badness(pool.rows), pool.bad) > 0.6


def test_too_few_trusted_rows_promise_nothing_and_say_how_many(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(600)
    truth = pool.trusted(5, 0)
    judge = taught(pool, truth)
    promise = judge.scorecard["promise"]
    assert promise["basis"] == "refused" and promise["missing_rows"] >= 4 and promise["drop_above"] is None
    untrusted = truth < 0
    assert (judge.decide(pool.rows).actions[untrusted] == KEEP).all()


def test_trusted_rows_follow_their_truth_but_are_scored_by_the_model(case: tuple[Any, np.ndarray, Judge]) -> None:
    pool, truth, judge = case
    decided = judge.decide(pool.rows)
    wrong, right = (truth >= 0) & pool.bad, (truth >= 0) & ~pool.bad
    assert (decided.actions[wrong] == RELABEL).all() and (decided.predicted[wrong] == truth[wrong]).all()
    assert (decided.actions[right] == KEEP).all()
    assert {REASONS[code] for code in decided.reasons[wrong]} == {"trusted_label"}
    assert len(np.unique(decided.label_score[wrong])) > 0.9 * wrong.sum()


def test_rows_without_content_or_label_are_set_aside(case: tuple[Any, np.ndarray, Judge]) -> None:
    pool, truth, judge = case
    rows = pool.rows.take(np.flatnonzero(truth < 0)[:40])
    labels, valid = rows.labels.copy(), rows.valid.copy()
    labels[:5], valid[5:9] = -1, False
    decided = judge.decide(Rows(rows.ids, rows.embeddings, valid, labels, rows.signals), no_content="undecodable_image")
    assert [REASONS[code] for code in decided.reasons[:9]] == ["missing_label"] * 5 + ["undecodable_image"] * 4
    assert (decided.actions[:9] == DROP).all() and (decided.label_score[:9] == 0).all()
    assert set(REASONS[1:]) <= set(POLICY_REASONS)


def test_text_rows_are_judged_by_signals_alone() -> None:
    rng = np.random.default_rng(0)
    n = 1_200
    signals = rng.normal(size=(n, 4)).astype(np.float32)
    signals[rng.random((n, 4)) < 0.05] = np.nan
    keep = (np.abs(np.nan_to_num(signals[:, 0])) < 1.2) & (np.nan_to_num(signals[:, 1]) > -1)
    keep ^= rng.random(n) < 0.03
    ids = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    rows = Rows(ids, None, np.ones(n, bool), np.zeros(n, np.int64), signals)
    truth = np.full(n, -1)
    truth[:400] = keep[:400]
    judge = learn(rows, truth, classes=2, task="text", config=QUICK)
    decided = judge.decide(rows)
    fresh = np.arange(n) >= 400
    assert average_precision(1 - decided.label_score[fresh], ~keep[fresh]) > 0.85
    assert set(np.unique(decided.actions)) == {KEEP, DROP} and (decided.predicted == -1).all()
    dropped = decided.actions == DROP
    assert dropped[fresh & keep].mean() < 0.2 and dropped[fresh & ~keep].mean() > 0.5
    assert {REASONS[code] for code in decided.reasons[fresh & dropped]} == {"low_quality"}


def test_text_without_a_trusted_row_is_all_kept() -> None:
    rng = np.random.default_rng(0)
    rows = Rows(
        rng.integers(0, 256, (200, 16)).astype(np.uint8),
        None,
        np.ones(200, bool),
        np.zeros(200, np.int64),
        rng.normal(size=(200, 3)).astype(np.float32),
    )
    judge = learn(rows, np.full(200, -1), classes=2, task="text")
    assert (judge.decide(rows).actions == KEEP).all() and judge.scorecard["promise"]["basis"] == "refused"


def test_wrong_requests_are_refused(make_pool: Callable[..., Any], case: tuple[Any, np.ndarray, Judge]) -> None:
    pool = make_pool(60)
    none = np.full(60, -1)
    with pytest.raises(InputError, match="only 40 of 40"):
        taught_rows = pool.rows.take(slice(0, 40))
        learn(taught_rows, none[:40], classes=3, task="classification")
    with pytest.raises(TrustedError, match="row 7 is code 3"):
        learn(pool.rows, np.where(np.arange(60) == 7, 3, none), classes=3, task="classification")
    twice = pool.rows.take(np.arange(60) % 59)
    with pytest.raises(InputError, match="twice"):
        learn(twice, none, classes=3, task="classification")
    with pytest.raises(InputError, match="at most"):
        many = np.zeros(MAX_ROWS + 1, np.int64)
        learn(pool.rows.take(many), many - 1, classes=3, task="classification")
    with pytest.raises(ValueError, match="learned from 12"):
        case[2].decide(
            Rows(pool.rows.ids, pool.rows.vectors[:, :5], pool.rows.valid, pool.rows.labels, pool.rows.signals)
        )


def test_review_asks_about_open_rows_most_in_doubt(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(900, noise=0.25)
    truth = pool.trusted(200, 0)
    judge = taught(pool, truth, config=PolicySpec(rounds=0, review_budget=50))
    asked = judge.scorecard["review"]
    place = {row.tobytes().hex(): i for i, row in enumerate(pool.rows.ids)}
    at = np.array([place[name] for name in asked])
    assert len(set(asked)) == 50 and (truth[at] < 0).all()
    assert pool.bad[at[:40]].mean() > 2 * pool.bad.mean()


def test_the_promise_holds_over_audits_of_whole_judges(make_pool: Callable[..., Any]) -> None:
    """Mean share of good rows dropped over independent audits is at most alpha, within two standard errors."""
    pool, lost = make_pool(500, noise=0.25, seed=5), []
    config = PolicySpec(rounds=0, max_false_drop=0.1, confidence=0, relabel_fdr=0)
    for seed in range(6):
        truth = pool.trusted(250, seed)
        judge = taught(pool, truth, config=config, seed=seed)
        good = (truth < 0) & ~pool.bad
        lost.append(float((judge.decide(pool.rows).actions[good] == DROP).mean()))
    assert np.mean(lost) <= 0.1 + 2 * np.std(lost) / np.sqrt(len(lost)) and np.mean(lost) > 0.005

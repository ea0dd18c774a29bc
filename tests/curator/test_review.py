"""Rows to review: those worth most and a random audit, the same ones however the ledger is cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curator.ledger import Ledger, ledger_schema
from curator.review import ReviewSettings, choose
from curator.storage import Store
from curator.verdict import ACTIONS, DROP, KEEP, RELABEL

CONFIDENCE = np.random.default_rng(3).integers(40, 101, 600) / 100


def ids(count: int) -> list[bytes]:
    return [np.random.default_rng((5, number)).bytes(16) for number in range(count)]


def ledger(
    root: Path,
    confidence: np.ndarray,
    parts: int,
    sample_ids: list[bytes] | None = None,
    actions: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    label_type: pa.DataType | None = pa.string(),  # noqa: B008  (a value, not a place)
) -> Ledger:
    """actions: codes, by default keep. scores: label_score, by default what a kept row has."""
    count, schema = len(confidence), ledger_schema(pa.int64(), label_type)
    named = sample_ids or ids(count)
    values = {
        "sample_id": pa.array(named, pa.binary(16)),
        "id": pa.array(range(count)),
        "action": pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(count) if actions is None else actions).cast(pa.int8()), pa.array(ACTIONS)
        ),
        "label_score": pa.array(confidence if scores is None else scores, pa.float32(), from_pandas=True),
        "confidence": pa.array(confidence, pa.float32(), from_pandas=True),
    }
    columns = [values.get(field.name, pa.nulls(count, field.type)) for field in schema]
    table = pa.Table.from_arrays(
        [column.cast(f.type) for column, f in zip(columns, schema, strict=True)], schema=schema
    )
    store, edges = Store.open(root), np.linspace(0, count, parts + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        name = Ledger.file_name("run_1", number)
        with store.writer(name) as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(table.slice(start, stop - start), max_chunksize=97)
    Ledger.seal(store, "run_1", np.diff(edges).tolist())
    return Ledger(store, "run_1")


def chosen(found: Ledger, **settings: object) -> list[tuple[str, int]]:
    asked = choose(found, ReviewSettings.model_validate(settings))
    return list(zip(asked.why, asked.rows["id"].to_pylist(), strict=True))


def test_the_least_sure_come_and_a_fifth_is_drawn(tmp_path: Path) -> None:
    asked = chosen(ledger(tmp_path, CONFIDENCE, 3), budget=50)
    unsure = [row for why, row in asked if why == "uncertain"]
    audit = [row for why, row in asked if why == "audit"]
    assert (len(unsure), len(audit)) == (40, 10)
    assert len({*unsure, *audit}) == 50
    worst = np.sort(CONFIDENCE)[39]
    assert CONFIDENCE[unsure].max() <= worst
    assert (np.diff(CONFIDENCE[unsure]) >= 0).all()
    assert set(np.flatnonzero(worst > CONFIDENCE)) <= set(unsure)


KEPT = [KEEP] * 4
MIXED = np.array([*KEPT, DROP, DROP, RELABEL, RELABEL])
SCORES = np.array([0.9, 0.2, 0.6, 1 - 1e-4, 0.02, 0.3, 0.1, 0.1])
SURE = np.where(MIXED == KEEP, SCORES, 1 - SCORES)
SURE[6:] = (0.95, 0.6)


@pytest.mark.parametrize(
    ("label_type", "order"),
    [
        # kept: 3 · P(wrong) = .3, 2.4, 1.2, .0003; dropped: 1; relabelled: 3 · P(proposal wrong) = .15, 1.2
        (pa.string(), [1, {2, 7}, {4, 5}, 0, 6, 3]),
        # no label: kept 2 · P(bad) = .2, 1.6, .8, .0002; dropped P(good) = .02, .3; relabelled (masked) as kept
        (None, [{1, 6, 7}, 2, 5, 0, 4, 3]),
    ],
)
def test_what_is_worth_most_comes_first(
    tmp_path: Path, label_type: pa.DataType | None, order: list[int | set[int]]
) -> None:
    scores = SCORES if label_type is not None else np.array([*SCORES[:6], 0.1, 0.15])
    found = ledger(tmp_path, SURE, 2, actions=MIXED, scores=scores, label_type=label_type)
    rows = [row for _, row in chosen(found, budget=8, audit_share=0)]
    for place in order:
        group = place if isinstance(place, set) else {place}
        assert {rows.pop(0) for _ in group} == group
    by_confidence = [row for _, row in chosen(found, budget=8, audit_share=0, order="confidence")]
    assert np.all(np.diff(SURE[by_confidence]) >= 0)


def test_nothing_is_asked_that_does_not_pay(tmp_path: Path) -> None:
    found = ledger(tmp_path, CONFIDENCE, 2)
    asked = chosen(found, budget=500, min_worth=1.2, audit_share=0.25)
    worth = 3 * (1 - CONFIDENCE[[row for why, row in asked if why == "uncertain"]])
    paying = 3 * (1 - CONFIDENCE.astype(np.float32).astype(np.float64)) >= 1.2
    assert worth.min() > 1.2 - 1e-6 and len(worth) == paying.sum() > 50
    assert sum(why == "audit" for why, _ in asked) == round(len(worth) / 3)
    assert chosen(found, budget=500, min_worth=2.5) == []
    assert len(chosen(found, budget=30, min_worth=2.5, audit_share=1)) == 30


def test_audit_rows_stand_among_the_others(tmp_path: Path) -> None:
    places = [at for at, (why, _) in enumerate(chosen(ledger(tmp_path, CONFIDENCE, 1), budget=50)) if why == "audit"]
    assert places[0] < 5 and places[-1] >= 45
    assert max(np.diff(places)) <= 6


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_how_the_ledger_is_cut_changes_nothing(tmp_path: Path, parts: int) -> None:
    whole, cut = ledger(tmp_path / "a", CONFIDENCE, 1), ledger(tmp_path / "b", CONFIDENCE, parts)
    settings = ReviewSettings(budget=77, audit_share=0.3, overlap=0.4, seed=9)
    first, second = choose(whole, settings), choose(cut, settings)
    assert first.rows.to_pylist() == second.rows.to_pylist()
    assert first[1:] == second[1:]


def test_another_seed_is_another_audit(tmp_path: Path) -> None:
    found = ledger(tmp_path, CONFIDENCE, 2)
    audits = [{row for why, row in chosen(found, budget=50, seed=seed) if why == "audit"} for seed in (0, 0, 1)]
    assert audits[0] == audits[1] != audits[2]


def test_where_the_policy_is_sure_of_all_everything_is_audit(tmp_path: Path) -> None:
    sure = ledger(tmp_path, np.ones(40), 2)
    assert [why for why, _ in chosen(sure, budget=10)] == ["audit"] * 10
    assert chosen(sure, budget=10, audit_share=0) == []
    assert len(chosen(sure, budget=1000)) == 40


def test_a_row_never_judged_is_not_uncertain_but_may_be_audited(tmp_path: Path) -> None:
    found = ledger(tmp_path, np.array([np.nan, 0.5, np.nan, 1.0]), 1)
    assert sorted(chosen(found, budget=4, audit_share=0.5)) == [
        ("audit", 0),
        ("audit", 2),
        ("audit", 3),
        ("uncertain", 1),
    ]


def test_rows_whose_truth_is_known_are_not_asked_about(tmp_path: Path) -> None:
    found = ledger(tmp_path, CONFIDENCE, 2)
    known = pa.array(ids(600)[:300], pa.binary(16))
    rows = choose(found, ReviewSettings(budget=200), known).rows["id"].to_pylist()
    assert len(rows) == 200 and min(rows) >= 300


def test_as_many_as_asked_are_asked_of_two(tmp_path: Path) -> None:
    found = ledger(tmp_path, CONFIDENCE, 2)
    counts = [choose(found, ReviewSettings(budget=300, overlap=share)).num_reviewers for share in (0, 0.5, 1)]
    assert set(counts[0]) == {1} and set(counts[2]) == {2}
    assert 110 < counts[1].count(2) < 190


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 5))
def test_never_more_than_the_budget_and_never_twice(
    tmp_path_factory: pytest.TempPathFactory, budget: int, share: float, seed: int
) -> None:
    found = ledger(tmp_path_factory.mktemp("ledger"), CONFIDENCE[:50], 2)
    rows = [row for _, row in chosen(found, budget=budget, audit_share=share, seed=seed)]
    assert len(rows) == len(set(rows)) <= budget
    if share > 0:
        assert len(rows) == min(budget, 50)


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0},
        {"budget": 10_001},
        {"audit_share": 1.1},
        {"seed": -1},
        {"size": 3},
        {"order": "age"},
        {"min_worth": -1},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReviewSettings.model_validate({"budget": 5, **wrong})

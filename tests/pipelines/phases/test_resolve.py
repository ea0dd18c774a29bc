"""Duplicates say the same, label and all, and the row they name is never one that a rule drops."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.duplicates import ExactDuplicates, NearDuplicates, UrlDuplicates
from curator.duplicates.buckets import SMALL_BUCKET
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunRequest, RunSummary
from curator.storage import Store
from tests.pipelines.conftest import TOPICS, sentence
from tests.pipelines.test_execute import go

TEXT = {"task": "text", "columns": {"text": "text"}, "unit_rows": 64}
LABELLED = {
    "task": "classification",
    "columns": {"text": "text", "label": "label"},
    "unit_rows": 64,
    "policy": {"kind": "rules"},
}


def curated(
    folder: Path, rows: list[dict[str, Any]], recipe: dict[str, Any], trusted: list[dict[str, Any]] | None = None
) -> tuple[RunSummary, dict[Any, dict[str, Any]]]:
    """(summary, the ledger by id); `duplicate_of` gives the keeper's id."""
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet", row_group_size=64)
    if trusted is not None:
        pq.write_table(pa.Table.from_pylist(trusted), folder / "trusted.parquet")
    request = RunRequest(
        inputs=(str(folder / "data.parquet"),),
        recipe=parse(recipe).model_dump(mode="json"),
        trusted=None if trusted is None else str(folder / "trusted.parquet"),
    )
    summary = go(folder / "root", request)
    ledger = pa.Table.from_batches(Ledger(Store.open(folder / "root"), summary.run).scan()).to_pylist()
    ids = {row["sample_id"]: row["id"] for row in ledger}
    return summary, {row["id"]: {**row, "duplicate_of": ids.get(row["duplicate_of"])} for row in ledger}


def prose(count: int, seed: int = 3) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(sentence(rng, rng.choice(list(TOPICS))) for _ in range(5)) for _ in range(count)]


def without(text: str, word: int) -> str:
    """A near copy: one word is changed."""
    words = text.split()
    return " ".join([*words[:word], "changed", *words[word + 1 :]])


def test_copies_that_disagree_about_the_label_are_no_duplicates(tmp_path: Path) -> None:
    one, two = prose(2)
    told = [(one, "a"), (one, "b"), (one, "b"), (f"  {one}\n", "a"), (one, None), (two, "a"), (one, ""), (one, "b")]
    rows = [{"id": place, "text": text, "label": label} for place, (text, label) in enumerate(told)]
    _, ledger = curated(tmp_path, rows, {**LABELLED, "process": ["exact_duplicates"]})
    assert {place: row["duplicate_of"] for place, row in ledger.items() if row["duplicate_of"] is not None} == {
        2: 1,
        3: 0,
        7: 1,
    }
    reasons = [ledger[place]["reason"] for place in range(8)]
    exact, missing = "exact_duplicate", "missing_label"
    assert reasons == [None, None, exact, exact, missing, None, missing, exact]


@pytest.mark.parametrize("label", [pa.int8(), pa.bool_(), pa.large_string()])
def test_labels_of_every_type_tell_copies_apart(tmp_path: Path, label: pa.DataType) -> None:
    values = pa.array([0, 1, 1, 0, None, None, 1], pa.int8()).cast(label if label != pa.large_string() else pa.int8())
    table = pa.table({"id": range(7), "text": prose(1) * 7, "label": values.cast(label)})
    _, ledger = curated(tmp_path, table.to_pylist(), {**LABELLED, "process": ["exact_duplicates"]})
    assert [ledger[place]["duplicate_of"] for place in range(7)] == [None, None, 1, 0, None, None, 1]


def test_near_copies_meet_their_own_label_in_a_crowd(tmp_path: Path) -> None:
    """More near copies than a bucket compares pair by pair, their labels mixed: one of each label stays."""
    [text] = prose(1)
    count = 3 * SMALL_BUCKET
    rows = [{"id": place, "text": without(text, place), "label": "ab"[place % 2]} for place in range(count)]
    _, ledger = curated(tmp_path, rows, {**LABELLED, "process": [{"near_duplicates": {"threshold": 0.6}}]})
    assert [place for place, row in ledger.items() if row["action"] == "keep"] == [0, 1]
    assert all(row["duplicate_of"] in (None, place % 2) for place, row in ledger.items())


@pytest.mark.parametrize("keep", ["first", "longest"])
@pytest.mark.parametrize("after", [True, False])
def test_a_row_that_a_rule_drops_keeps_no_other_out(tmp_path: Path, keep: str, after: bool) -> None:
    """Wherever the rule stands: texts of two lengths, near copies of each other, of which a rule drops some."""
    rows: list[dict[str, Any]] = []
    for place, text in enumerate(prose(60)):
        rows += [{"id": 2 * place, "text": text}, {"id": 2 * place + 1, "text": f"{text} And these words more."}]
    lengths = sorted(len(row["text"].split()) for row in rows)
    rules: list[Any] = [{"length": {"min_words": lengths[40], "max_words": lengths[100]}}, {"composition": {}}]
    twins: list[Any] = ["exact_duplicates", {"near_duplicates": {"threshold": 0.7, "keep": keep}}]
    _, ledger = curated(tmp_path, rows, {**TEXT, "process": twins + rules if after else rules + twins})
    reasons = Counter(row["reason"] for row in ledger.values())
    assert reasons["near_duplicate"] > 10 and reasons["too_short"] > 10 and reasons["too_long"] > 5
    for row in ledger.values():
        if row["duplicate_of"] is not None:
            assert ledger[row["duplicate_of"]]["action"] == "keep" and row["action"] == "drop"
    families = {place // 2 for place, row in ledger.items() if row["reason"] == "near_duplicate"}
    assert families <= {place // 2 for place, row in ledger.items() if row["action"] == "keep"}


def test_a_keeper_that_the_policy_drops_takes_its_copies_along(tmp_path: Path, labelled: dict[str, Path]) -> None:
    """Three copies of every wrongly labelled row, and one with the right label: that one is judged on its own."""
    truth = {row["id"]: row["truth"] for row in pq.read_table(labelled["truth"]).to_pylist()}
    rows = [*pq.read_table(labelled["a"]).to_pylist(), *pq.read_table(labelled["b"]).to_pylist()]
    wrong = [row for row in rows if row["label"] != truth[row["id"]]]
    rows += [{**row, "id": f"{row['id']}-again-{n}"} for n in range(2) for row in wrong]
    rows += [{**row, "id": f"{row['id']}-right", "label": truth[row["id"]]} for row in wrong]
    policy = {"kind": "learned", "max_false_drop": 0.1, "relabel_fdr": 0}  # what is relabelled does not fall
    recipe = {**LABELLED, "process": ["exact_duplicates"], "policy": policy}
    summary, ledger = curated(tmp_path, rows, recipe, pq.read_table(labelled["trusted"]).to_pylist())
    assert summary.reasons["exact_duplicate"] == 2 * len(wrong) and summary.reasons["label_error"] > 20
    fallen = 0
    for row in ledger.values():
        if row["reason"] == "exact_duplicate":
            keeper = ledger[row["duplicate_of"]]
            assert row["action"] == "drop" and row["given_label"] == keeper["given_label"]
            assert keeper["reason"] in (None, "label_error", "trusted_label")
            fallen += keeper["action"] == "drop"
    assert fallen > 40
    right = [ledger[f"{row['id']}-right"] for row in wrong]
    assert sum(row["action"] == "keep" for row in right) > 0.8 * len(right)


@pytest.mark.parametrize("keep", ["first", "longest"])
def test_a_trusted_row_is_the_keeper_of_its_copies(tmp_path: Path, keep: str) -> None:
    """Its truth is not lost to an earlier or longer copy of which nothing is known."""
    texts = prose(30)
    rows: list[dict[str, Any]] = [{"id": n, "text": texts[n // 3], "label": "ab"[n >= 60]} for n in range(90)]
    for row in rows[::3]:
        row["text"] += " And more words."
    trusted = [{"id": 3 * n + 2, "label": "b" if n % 2 else "a"} for n in range(20)]
    recipe = {**LABELLED, "process": [{"near_duplicates": {"threshold": 0.6, "keep": keep}}]}
    _, ledger = curated(tmp_path, rows, recipe, trusted)
    for n in range(30):
        first, middle, last = (ledger[3 * n + place] for place in range(3))
        if n < 20:
            assert (first["duplicate_of"], middle["duplicate_of"], last["duplicate_of"]) == (3 * n + 2, 3 * n + 2, None)
            assert last["reason"] == ("trusted_label" if n % 2 else None)
        else:
            assert (first["duplicate_of"], middle["duplicate_of"], last["duplicate_of"]) == (None, 3 * n, 3 * n)


def test_under_a_learned_policy_for_text_a_dropped_keeper_is_dropped_by_judgement(tmp_path: Path) -> None:
    good, rng = prose(240), random.Random(8)
    junk = [" ".join(rng.choice(["buy", "now", "click", "win"]) for _ in range(60)) for _ in range(120)]
    rows: list[dict[str, Any]] = [{"id": place, "text": text} for place, text in enumerate(good + junk)]
    rows += [{**row, "id": 1000 + row["id"]} for row in rows[::3]]
    trusted = [{"id": place, "keep": place < 240} for place in range(0, 360, 2)]
    recipe = {**TEXT, "process": ["exact_duplicates"], "policy": {"kind": "learned", "max_false_drop": 0.1}}
    summary, ledger = curated(tmp_path, rows, recipe, trusted)
    keepers = [ledger[row["duplicate_of"]] for row in ledger.values() if row["reason"] == "exact_duplicate"]
    assert len(keepers) == 120 == summary.reasons["exact_duplicate"]
    fallen = {row["reason"] for row in keepers if row["action"] == "drop"}
    assert fallen and fallen <= {"low_quality", "trusted_drop"}


def test_an_exchange_is_repeated_when_all_its_parts_are(tmp_path: Path) -> None:
    told = [("Add", "1 2", "3"), ("Add", "1 2", "4"), ("Add", "2 2", "4"), ("Add", "1 2", "3"), ("Say", None, "hi")]
    told += [("Say", "", "hi"), ("Say", None, "hi there")]
    rows = [dict(zip(("id", "instruction", "input", "output"), (n, *row), strict=True)) for n, row in enumerate(told)]
    recipe = {
        "task": "instruction",
        "columns": {"instruction": "instruction", "input": "input", "output": "output"},
        "process": ["exact_duplicates"],
    }
    _, ledger = curated(tmp_path, rows, recipe)
    assert [ledger[place]["duplicate_of"] for place in range(7)] == [None, None, None, 0, None, 4, None]


def test_reasons_promise_no_kept_row() -> None:
    """What a duplicate names may fall to the policy later, so its reason speaks of the row it names."""
    for reason in (text for op in (ExactDuplicates, NearDuplicates, UrlDuplicates) for text in op.reasons.values()):
        assert "the row it names" in reason and "kept" not in reason


def test_operators_on_top_of_a_preset_leave_its_duplicates_dropped(tmp_path: Path, data: Path) -> None:
    """Real documents, 400 of them twice, few of which FineWeb keeps: its near duplicates fall, whatever comes after."""
    texts = pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].to_pylist()[:600]
    rows = [{"id": place, "text": text} for place, text in enumerate(texts + texts[:400])]
    on_top = [{"preset": "fineweb"}, {"language": {"keep": ["en"], "min_score": 0.65}}]
    found = {}
    for name, process in {
        "preset": [{"preset": "fineweb"}],
        "on top": [*on_top, {"near_duplicates": {"threshold": 0.8}}],
    }.items():
        (tmp_path / name).mkdir()
        found[name] = curated(tmp_path / name, rows, {**TEXT, "process": process})[0]
    assert found["preset"].reasons == found["on top"].reasons
    assert found["preset"].reasons["near_duplicate"] >= 10

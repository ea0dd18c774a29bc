"""What a policy learns from, and what happens where too little is left to learn from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipelines.phases.learn as phase
from agents.types import Rows
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunRequest, RunSummary
from curator.settings import Settings
from curator.storage import Store
from pipelines.execute import execute
from tests.pipelines.conftest import MemoryJournal

LONG = {"length": {"min_words": 20}}


def curated(
    folder: Path, rows: list[dict[str, Any]], trusted: list[dict[str, Any]] | None = None, **changes: Any
) -> tuple[RunSummary, dict[int, dict[str, Any]], dict[str, Any]]:
    """(summary, the ledger by id, the scorecard) of a run over rows under a learned policy."""
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet", row_group_size=64)
    if trusted is not None:
        pq.write_table(pa.Table.from_pylist(trusted), folder / "trusted.parquet")
    recipe = parse(
        {
            "task": "classification",
            "columns": {"text": "text", "label": "label"},
            "policy": {"kind": "learned"},
            "unit_rows": 64,
            **changes,
        }
    )
    request = RunRequest(
        inputs=(str(folder / "data.parquet"),),
        recipe=recipe.model_dump(mode="json"),
        trusted=None if trusted is None else str(folder / "trusted.parquet"),
    )
    journal = MemoryJournal()
    summary = execute(SimpleNamespace(id="run_1", request=request), journal, Settings(root=str(folder / "root")))
    ledger = {
        row["id"]: row for batch in Ledger(Store.open(folder / "root"), "run_1").scan() for row in batch.to_pylist()
    }
    return summary, ledger, journal.outputs["learn"][-1]["scorecard"]


def rows_of(count: int, words: int = 8, first: int = 0) -> list[dict[str, Any]]:
    word = {"a": "ball", "b": "bank"}
    return [
        {"id": n, "text": " ".join([f"{word['ab'[n % 2]]}{n % 7}"] * words), "label": "ab"[n % 2]}
        for n in range(first, first + count)
    ]


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        (rows_of(2), {}, "2 of 2 rows have content and a label; learning needs at least 50"),
        (rows_of(100), {"process": [LONG]}, "0 of 100 rows left after the rules; learning needs at least 50"),
        (rows_of(1, 30) + rows_of(99, first=1), {"process": [LONG]}, "1 of 100 rows left after the rules"),
        (rows_of(37, 30) + rows_of(93, first=37), {"process": [LONG]}, "37 of 130 rows left after the rules"),
        (
            [{**row, "text": row["text"] * (1 + 3 * (row["label"] == "a"))} for row in rows_of(160, 8)],
            {"process": [{"length": {"min_words": 20}}]},
            "80 of 160 rows left after the rules, all of one label; learning needs two labels",
        ),
        ([{**row, "text": ""} for row in rows_of(60)], {}, "0 of 60 rows have content"),
        ([{**row, "text": None if row["id"] else "x"} for row in rows_of(60)], {}, "1 of 60 rows have content"),
        ([{**row, "label": row["label"] if row["id"] < 30 else ""} for row in rows_of(90)], {}, "30 of 90 rows"),
        (rows_of(20), {"task": "text", "process": []}, "20 of 20 rows have content; learning"),
    ],
)
def test_too_little_to_learn_from_leaves_the_rules_to_decide(
    tmp_path: Path, rows: list[dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    summary, ledger, card = curated(tmp_path, rows, **changes)
    assert summary.policy.startswith("pol_rules_") and card["kind"] == "rules"
    [warning] = [text for text in summary.warnings if "no policy was learned" in text]
    assert words in warning and "use policy kind rules" in warning
    assert summary.kept + summary.dropped == len(ledger) == len(rows)
    (tmp_path / "plain").mkdir()
    plain, by_rules, _ = curated(tmp_path / "plain", rows, **changes | {"policy": {"kind": "rules"}})
    assert {key: row["action"] for key, row in ledger.items()} == {key: row["action"] for key, row in by_rules.items()}
    assert plain.reasons == summary.reasons


def test_trusted_rows_follow_their_truth_without_a_policy(tmp_path: Path) -> None:
    rows = rows_of(20)
    rows[4]["label"] = ""
    trusted = [{"id": 3, "label": "a"}, {"id": 4, "label": "b"}, {"id": 6, "label": "a"}]
    summary, ledger, _ = curated(tmp_path, rows, trusted)
    assert [ledger[key]["action"] for key in (3, 4, 6)] == ["relabel", "relabel", "keep"]
    assert [ledger[key]["predicted_label"] for key in (3, 4)] == ["a", "b"]
    assert summary.relabeled == 2 and summary.dropped == 0


@pytest.mark.parametrize("kind", ["rules", "learned"])
def test_a_row_without_a_label_goes_for_that_reason(tmp_path: Path, kind: str) -> None:
    rows = rows_of(90)
    for key, label in {5: None, 6: "", 77: " \n"}.items():
        rows[key]["label"] = label
    summary, ledger, _ = curated(tmp_path, rows, policy={"kind": kind, "max_false_drop": 0.01})
    assert summary.reasons["missing_label"] == 3
    for key in (5, 6, 77):
        assert (ledger[key]["reason"], ledger[key]["given_label"], ledger[key]["label_score"]) == (
            "missing_label",
            None,
            0.0,
        )


def some(ids: np.ndarray) -> Rows:
    n = len(ids)
    vectors = ids[:, :2].astype(np.float32)
    return Rows(ids, vectors, np.ones(n, bool), np.zeros(n, np.int64), np.zeros((n, 0), np.float32))


def test_the_rows_learned_from_are_the_trusted_and_the_lowest_ids_however_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phase, "POLICY_ROWS", 40)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 256, (300, 16)).astype(np.uint8)
    ids[:, 0] //= 100  # many share the first byte: the later ones tell
    truth = np.where(rng.random(300) < 0.05, 1, -1)
    place = {row.tobytes(): i for i, row in enumerate(ids)}
    trusted = [i for i in range(300) if truth[i] >= 0]
    others = sorted((i for i in range(300) if truth[i] < 0), key=lambda i: ids[i].tobytes())
    expected = sorted(trusted + others[: 40 - len(trusted)])
    for pieces in (1, 7, 60):
        rows, shown = _learned_from(monkeypatch, ids, truth, pieces)
        assert sorted(place[row.tobytes()] for row in rows.ids) == expected
        assert (shown == truth[[place[row.tobytes()] for row in rows.ids]]).all()


def _learned_from(
    monkeypatch: pytest.MonkeyPatch, ids: np.ndarray, truth: np.ndarray, pieces: int
) -> tuple[Rows, np.ndarray]:
    parts = np.array_split(np.arange(len(ids)), pieces)
    known = {row.tobytes(): code for row, code in zip(ids, truth, strict=True)}
    monkeypatch.setattr(
        phase, "load_rows", lambda _, unit, __: (some(ids[parts[unit]]), np.ones(len(parts[unit]), bool))
    )
    monkeypatch.setattr(phase, "truth_of", lambda _, rows: np.array([known[row.tobytes()] for row in rows]))
    job: Any = SimpleNamespace(plan=SimpleNamespace(units=[None] * pieces))
    found = phase._learnable(job, {})
    assert (found.usable, found.trusted) == (len(ids), int((truth >= 0).sum()))
    return found.rows, found.truth


def test_trusted_rows_beyond_what_can_be_learned_from_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase, "POLICY_ROWS", 40)
    ids = np.random.default_rng(0).integers(0, 256, (100, 16)).astype(np.uint8)
    rows, truth = _learned_from(monkeypatch, ids, np.where(np.arange(100) < 60, 1, -1), 3)
    [warning] = phase._left_out(phase._Learnable(rows, truth, 100, 60))
    assert len(rows) == 40 and "40 of 60 trusted rows taught" in warning

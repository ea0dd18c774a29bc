"""The whole road in one process: every row accounted for, resumable at every step, the same manifest each time."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import ConflictError, StoppedError
from curator.ledger import Ledger
from curator.recipe import load, parse
from curator.run import RunRequest, RunSummary
from curator.settings import Settings
from curator.shards import Manifest, ShardReader
from curator.storage import Store
from pipelines.execute import execute
from tests.pipelines.conftest import MemoryJournal


def text_recipe(**changes: Any) -> dict[str, Any]:
    recipe = load("text").model_dump(mode="json")
    return parse({**recipe, "unit_rows": 64, **changes}).model_dump(mode="json")


def labelled_recipe(**changes: Any) -> dict[str, Any]:
    return parse(
        {
            "task": "classification",
            "columns": {"text": "text", "label": "label"},
            "process": ["exact_duplicates"],
            "policy": {"kind": "learned", "max_false_drop": 0.1},
            "unit_rows": 100,
            **changes,
        }
    ).model_dump(mode="json")


def go(root: Path, request: RunRequest, journal: MemoryJournal | None = None, run: str = "run_1") -> RunSummary:
    return execute(SimpleNamespace(id=run, request=request), journal or MemoryJournal(), Settings(root=str(root)))


@pytest.fixture
def text_request(texts: Path) -> RunRequest:
    return RunRequest(inputs=(str(texts),), recipe=text_recipe())


@pytest.fixture
def labelled_request(labelled: dict[str, Path]) -> RunRequest:
    return RunRequest(
        inputs=(str(labelled["a"]), str(labelled["b"])), recipe=labelled_recipe(), trusted=str(labelled["trusted"])
    )


def test_a_person_sees_every_phase_once_and_none_come_back(tmp_path: Path, labelled_request: RunRequest) -> None:
    journal = MemoryJournal()
    summary = go(tmp_path / "root", labelled_request, journal)
    phases = [phase for phase, _ in groupby(journal.seen, key=lambda progress: progress.phase)]
    assert phases == ["validate", "score", "resolve", "learn", "decide", "write"] == list(summary.seconds_by_phase)
    for phase, seen in groupby(journal.seen, key=lambda progress: progress.phase):
        done = [progress.rows_done for progress in seen]
        assert done == sorted(done) and (done[0], done[-1]) == (0, 600), phase


def test_every_row_of_text_is_accounted_for(tmp_path: Path, text_request: RunRequest) -> None:
    summary = go(tmp_path / "root", text_request)
    store = Store.open(tmp_path / "root")
    ledger = pa.Table.from_batches(Ledger(store, summary.run).scan())
    assert summary.rows_in == summary.kept + summary.dropped == ledger.num_rows == 400
    assert Counter(ledger["action"].to_pylist()) == {"keep": summary.kept, "drop": summary.dropped}
    reasons = Counter(reason for reason in ledger["reason"].to_pylist() if reason)
    assert dict(reasons) == summary.reasons
    assert reasons["exact_duplicate"] >= 50 and reasons["near_duplicate"] >= 20 and reasons["missing_content"] == 2
    rows = ledger.to_pylist()
    kept = {row["sample_id"]: row["id"] for row in rows if row["action"] == "keep"}
    for row in rows:
        if row["action"] == "drop":
            assert row["reason"] in row["reasons"] and row["difficulty"] is None
        if row["reason"] in {"exact_duplicate", "near_duplicate"}:
            assert row["duplicate_of"] in kept and row["similarity"] >= 0.8
    assert abs(max(summary.difficulty.values()) - min(summary.difficulty.values())) <= 1
    assert sum(summary.difficulty.values()) == summary.kept


def test_shards_hold_the_kept_rows_and_quarantine_the_dropped(tmp_path: Path, text_request: RunRequest) -> None:
    summary = go(tmp_path / "root", text_request)
    store = Store.open(tmp_path / "root")
    manifest = Manifest.load(store, summary.manifest)
    served = pa.Table.from_batches(ShardReader(store).iter_batches(manifest))
    ledger = pa.Table.from_batches(Ledger(store, summary.run).scan())
    kept = [row["id"] for row in ledger.to_pylist() if row["action"] == "keep"]
    assert served["id"].to_pylist() == kept
    assert sum(shard.rows for shard in manifest.shards if shard.quarantine) == summary.dropped
    assert set(served.column_names) >= {"id", "text", "tag", "sample_id"}


def test_labels_are_judged(tmp_path: Path, labelled_request: RunRequest, labelled: dict[str, Path]) -> None:
    summary = go(tmp_path / "root", labelled_request)
    truth = {row["id"]: row for row in pq.read_table(labelled["truth"]).to_pylist()}
    trusted = set(pq.read_table(labelled["trusted"])["id"].to_pylist())
    ledger = pa.Table.from_batches(Ledger(Store.open(tmp_path / "root"), summary.run).scan()).to_pylist()
    rest = [row for row in ledger if row["id"] not in trusted]
    bad = [row["label_score"] for row in rest if truth[row["id"]]["label"] != truth[row["id"]]["truth"]]
    good = [row["label_score"] for row in rest if truth[row["id"]]["label"] == truth[row["id"]]["truth"]]
    assert sum(b < g for b in bad for g in good) / (len(bad) * len(good)) > 0.9
    for row in ledger:
        if row["id"] in trusted and row["action"] == "relabel":
            assert row["reason"] == "trusted_label" and row["predicted_label"] == truth[row["id"]]["truth"]
    changed = [row for row in rest if row["action"] != "keep"]
    caught = sum(truth[row["id"]]["label"] != truth[row["id"]]["truth"] for row in changed)
    assert caught / len(bad) > 0.6 and (len(changed) - caught) / len(good) < 0.2


@pytest.mark.parametrize("step", ["score", "decide", "write"])
def test_a_cancel_is_heard_inside_a_unit(tmp_path: Path, texts: Path, step: str) -> None:
    """The run has one unit: nothing of the step was committed when it stopped."""

    class Cancelled(MemoryJournal):
        def stop_requested(self) -> Any:
            begun = {"score": "validate", "decide": "learn", "write": "rank"}[step] in self.outputs
            self.asked = getattr(self, "asked", 0) + begun
            return "cancel" if self.asked > 1 else None  # the first question comes before the unit begins

    journal = Cancelled()
    with pytest.raises(StoppedError, match="cancel"):
        go(tmp_path / "root", RunRequest(inputs=(str(texts),), recipe=text_recipe(unit_rows=65_536)), journal)
    assert step not in journal.outputs
    assert not list((tmp_path / "root").rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["text", "labelled"])
def test_a_run_stopped_anywhere_ends_with_the_same_manifest(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    asked = request.getfixturevalue(f"{kind}_request")
    whole = MemoryJournal()
    undisturbed = go(tmp_path / "whole", asked, whole)
    journal = MemoryJournal()
    for commits in range(2, whole.commits + 1, 3):
        journal.stop_after = commits
        with pytest.raises(StoppedError):
            go(tmp_path / "stopped", asked, journal)
    journal.stop_after = None
    resumed = go(tmp_path / "stopped", asked, journal)
    assert resumed.manifest == undisturbed.manifest and resumed.reasons == undisturbed.reasons
    ledgers = [
        b"".join(
            Store.open(tmp_path / name).read_bytes(part) for part in Ledger(Store.open(tmp_path / name), "run_1").files
        )
        for name in ("whole", "stopped")
    ]
    assert ledgers[0] == ledgers[1]


def test_the_same_run_elsewhere_has_the_same_manifest_and_another_seed_has_not(
    tmp_path: Path, labelled_request: RunRequest
) -> None:
    one = go(tmp_path / "one", labelled_request, run="run_a")
    two = go(tmp_path / "two", labelled_request, run="run_b")
    other = go(tmp_path / "three", labelled_request.model_copy(update={"recipe": labelled_recipe(seed=1)}))
    assert one.manifest == two.manifest != other.manifest


def test_nothing_kept_is_a_whole_ledger_and_a_loud_warning(tmp_path: Path, texts: Path) -> None:
    recipe = parse({"task": "text", "columns": {"text": "text"}, "process": [{"length": {"min_words": 10_000}}]})
    summary = go(tmp_path / "root", RunRequest(inputs=(str(texts),), recipe=recipe.model_dump(mode="json")))
    assert summary.kept == 0 and summary.dropped == 400
    assert "not one of 400 rows was kept" in summary.warnings[0]
    assert sum(batch.num_rows for batch in Ledger(Store.open(tmp_path / "root"), summary.run).scan()) == 400


def test_where_leaves_rows_out_of_the_count(tmp_path: Path, texts: Path) -> None:
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe(where={"tag": [0, 1]}))
    summary = go(tmp_path / "root", request)
    tags = pa.Table.from_batches(
        ShardReader(Store.open(tmp_path / "root")).iter_batches(
            Manifest.load(Store.open(tmp_path / "root"), summary.manifest)
        )
    )["tag"]
    assert summary.rows_in < 400 and set(tags.to_pylist()) <= {0, 1}


def test_progress_is_told_in_rows(tmp_path: Path, text_request: RunRequest) -> None:
    journal = MemoryJournal()
    summary = go(tmp_path / "root", text_request, journal)
    last = journal.seen[-1]
    assert (last.rows_total, last.kept, last.dropped) == (400, summary.kept, summary.dropped)
    assert [phase for phase in dict.fromkeys(seen.phase for seen in journal.seen)] == [
        "validate",
        "score",
        "resolve",
        "learn",
        "decide",
        "write",
    ]
    assert all(seen.rows_done <= seen.rows_total for seen in journal.seen)
    assert last.rows_done == 400 and last.phase == "write"


def test_a_run_that_begins_anew_keeps_nothing_of_an_attempt_before(tmp_path: Path, texts: Path) -> None:
    """Retried from the start on a smaller input: its ledger, its side files and its report are of these rows alone."""
    root = tmp_path / "root"
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe(unit_rows=64))
    Store.open(root).write_bytes("runs/run_1/submission.json", b"{}")
    Store.open(root).write_bytes("runs/run_2/units/00000.signals.arrow", b"another run's")
    go(root, request)
    texts.write_text("".join(line + "\n" for line in texts.read_text().splitlines()[:100]))
    again = go(root, request)
    ledger = Ledger(Store.open(root), "run_1")
    assert again.rows_in == sum(batch.num_rows for batch in ledger.scan()) == sum(ledger.rows_by_part) == 100
    go(tmp_path / "fresh", request)
    left = [set(Store.open(tmp_path / name).list("runs/run_1")) for name in ("root", "fresh")]
    assert left[0] - left[1] == {"runs/run_1/submission.json"} and not left[1] - left[0]
    assert Store.open(root).list("runs/run_2")


@pytest.mark.parametrize("step", ["resolve", "learn", "rank", "finish"])
def test_a_cancel_is_heard_in_the_midst_of_a_step_over_the_whole_set(
    tmp_path: Path, labelled_request: RunRequest, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    asked = ["cancel"]

    class Journal(MemoryJournal):
        def stop_requested(self) -> Any:
            return asked[0] if asked and step in begun else None

    def begin(chosen: Any, *arguments: Any) -> Any:
        begun.append(chosen.name)
        return run(chosen, *arguments)

    from pipelines import inline

    run = inline.run_set_step
    monkeypatch.setattr(inline, "run_set_step", begin)
    journal = Journal()
    with pytest.raises(StoppedError, match="cancel"):
        go(tmp_path / "root", labelled_request, journal)
    assert begun[-1] == step and step not in journal.outputs
    asked.clear()
    assert (
        go(tmp_path / "root", labelled_request, journal).manifest == go(tmp_path / "fresh", labelled_request).manifest
    )


def test_a_plan_of_another_version_is_refused(tmp_path: Path, text_request: RunRequest) -> None:
    journal = MemoryJournal(stop_after=3)
    with pytest.raises(StoppedError):
        go(tmp_path / "root", text_request, journal)
    journal.stop_after = None
    store = Store.open(tmp_path / "root")
    plan = json.loads(store.read_bytes("runs/run_1/plan.json"))
    store.write_bytes("runs/run_1/plan.json", json.dumps({**plan, "version": 99}).encode())
    with pytest.raises(ConflictError, match=r"plan version 99, this one follows 3.*use that version"):
        go(tmp_path / "root", text_request, journal)

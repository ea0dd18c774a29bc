"""What a careless caller gets: an error naming file, row or field and what to do, exit code 2, and nothing written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from api.cli.app import app
from curator.storage import Store
from tests.pipelines.test_execute import labelled_recipe

LABELLED = {
    "columns": {"id": "id", "text": "text", "label": "label"},
    "task": "classification",
    "process": [],
    "policy": {"kind": "learned"},
}
GOOD = [{"id": n, "text": f"row number {n} speaks of things", "label": "ab"[n % 2]} for n in range(120)]


def curate(folder: Path, table: Any, recipe: Any = LABELLED, trusted: Any = None) -> tuple[int, str]:
    """Exit code and message of `winnow curate` on these rows; asserts that a refusal left nothing behind."""
    pq.write_table(table if isinstance(table, pa.Table) else pa.Table.from_pylist(table), folder / "data.parquet")
    (folder / "recipe.json").write_text(json.dumps(recipe))
    words = [
        "curate",
        str(folder / "data.parquet"),
        "--recipe",
        str(folder / "recipe.json"),
        "--out",
        str(folder / "root"),
        "--json",
    ]
    if trusted is not None:
        pq.write_table(pa.Table.from_pylist(trusted), folder / "trusted.parquet")
        words += ["--trusted", str(folder / "trusted.parquet")]
    result = CliRunner().invoke(app, words)
    if result.exit_code == 2:
        assert not (folder / "root").exists(), "a wrong request writes nothing"
        assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"columns": {"id": "id", "text": "txt", "label": "label"}},
            ["columns.text", "'txt'", "did you mean 'text'", "label"],
        ),
        ({"columns": {"id": "key", "text": "text", "label": "label"}}, ["columns.id", "'key'"]),
        ({"where": {"split": "train"}}, ["where.split", "no column 'split'"]),
        ({"where": {"label": "zebra"}}, ["no row to use", "zebra"]),
        ({"polcy": {}}, ["unknown key 'polcy'", "policy"]),
        ({"columns": {"id": "id", "text": "id", "label": "label"}}, ["column 'id' holds int64", "text"]),
        ({"encoder": {"text": "/nowhere/model"}}, ["/nowhere/model"]),
        ({"columns": {"id": "id", "image": "text", "label": "label"}}, ["column 'text' holds", "image"]),
    ],
)
def test_a_recipe_that_does_not_fit_the_data(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    code, message = curate(tmp_path, GOOD, {**LABELLED, **change})
    assert code == 2
    for word in words:
        assert word in message


@pytest.mark.parametrize("place", ["a-file", "a-file/root"])
def test_a_root_that_cannot_be_is_a_wrong_request(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").write_text("")
    pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / "data.parquet")
    words = ["curate", str(tmp_path / "data.parquet"), "--recipe", "text", "--out", str(tmp_path / place)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "is a file" in result.stderr


def test_repeated_ids_are_listed(tmp_path: Path) -> None:
    code, message = curate(tmp_path, [*GOOD, GOOD[7], GOOD[9]])
    assert code == 2 and "2 " in message and "7" in message and "9" in message


def test_null_ids_are_named_by_row(tmp_path: Path) -> None:
    code, message = curate(tmp_path, [*GOOD, {**GOOD[0], "id": None}])
    assert code == 2 and "120" in message and "null" in message


@pytest.mark.parametrize(
    ("trusted", "words"),
    [
        ([{"id": 3, "label": "a"}, {"id": 9000, "label": "b"}], ["1 of 2 ids match no row", "9000"]),
        ([{"id": 3, "label": "zebra"}], ["never seen in the data", "zebra"]),
        ([{"id": 3, "label": None}], ["null"]),
        ([{"key": 3, "label": "a"}], ["no column 'id'", "key"]),
        ([{"id": 3, "truth": "a"}], ["no column 'label'", "truth"]),
        ([{"id": 3, "label": "a"}, {"id": 3, "label": "b"}], ["id"]),
        ([{"id": 3, "label": "a", "label_true": "b"}], ["'label' and 'label_true' differ"]),
    ],
)
def test_a_trusted_sample_that_does_not_fit(tmp_path: Path, trusted: list[dict[str, Any]], words: list[str]) -> None:
    code, message = curate(tmp_path, GOOD, trusted=trusted)
    assert code == 2
    for word in words:
        assert word in message, message


def test_one_class_is_no_classification(tmp_path: Path) -> None:
    code, message = curate(tmp_path, [{**row, "label": "a"} for row in GOOD])
    assert code == 2 and "1 distinct value" in message


def test_a_column_of_our_own_name_is_refused(tmp_path: Path) -> None:
    code, message = curate(tmp_path, [{**row, "sample_id": "x"} for row in GOOD])
    assert code == 2 and "sample_id" in message and "rename" in message


def test_null_texts_and_labels_are_verdicts_not_errors(tmp_path: Path) -> None:
    rows = [
        *GOOD,
        {"id": 500, "text": None, "label": "a"},
        {"id": 501, "text": "", "label": "a"},
        {"id": 502, "text": "some words here", "label": None},
    ]
    code, message = curate(tmp_path, rows)
    assert code == 0, message
    from curator.ledger import Ledger

    store = Store.open(tmp_path / "root")
    [run] = os.listdir(tmp_path / "root" / "runs")
    reasons = {row["id"]: row["reason"] for batch in Ledger(store, run).scan() for row in batch.to_pylist()}
    assert (reasons[500], reasons[501], reasons[502]) == ("missing_content", "missing_content", "missing_label")


def test_a_full_disk_ends_the_run_resumable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device fills while shards are written; with space again, the run goes on and ends as it would have."""
    import errno

    pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / "data.parquet")
    (tmp_path / "recipe.json").write_text(json.dumps(labelled_recipe(unit_rows=64)))
    words = ["curate", str(tmp_path / "data.parquet"), "--recipe", str(tmp_path / "recipe.json"), "--json", "--out"]
    whole = CliRunner().invoke(app, [*words, str(tmp_path / "whole")])
    assert whole.exit_code == 0, whole.stderr

    import curator.storage as storage

    real = storage._sync

    def full(path: str) -> None:
        if "verdicts" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path)

    monkeypatch.setattr(storage, "_sync", full)
    broken = CliRunner().invoke(app, [*words, str(tmp_path / "root")])
    assert broken.exit_code == 3 and "no space left" in broken.stderr and "resume" in broken.stderr
    assert not [path for path in (tmp_path / "root").rglob("*.tmp")]
    monkeypatch.setattr(storage, "_sync", real)
    resumed = CliRunner().invoke(app, ["curate", "--resume", "last", "--out", str(tmp_path / "root"), "--json"])
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["manifest"] == json.loads(whole.stdout)["manifest"]

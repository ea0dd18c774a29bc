"""Personal data is masked among the kept rows, told in the ledger, and lies in quarantine where a row is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curator.errors import RecipeError
from curator.recipe import parse
from curator.shards import ShardReader
from curator.storage import Store
from pipelines.plan import make_plan
from pipelines.what_if import what_if
from tests.pipelines.phases.test_resolve import TEXT, curated, prose

MAIL = "Write to jane@example.org or to joe@example.org."


def shard_texts(root: Path, manifest: str, column: str = "text") -> dict[int, str]:
    reader = ShardReader(Store.open(root))
    rows = pa.Table.from_batches(list(reader.iter_batches(manifest))).to_pylist()
    return {row["id"]: row[column] for row in rows}


def test_kept_rows_are_masked_and_the_ledger_says_so(tmp_path: Path) -> None:
    one, two, three = prose(3)
    rows = [{"id": 0, "text": one}, {"id": 1, "text": f"{two} {MAIL}"}, {"id": 2, "text": f"{three} {MAIL} {MAIL}"}]
    summary, ledger = curated(tmp_path, rows, {**TEXT, "process": [{"personal_data": {"max_emails": 3}}]})
    told = [(row["action"], row["reason"], row["reasons"]) for row in ledger.values()]
    masked = "personal_data_masked"
    assert told == [("keep", None, []), ("relabel", masked, [masked]), ("drop", "personal_data", ["personal_data"])]
    assert (summary.kept, summary.dropped, summary.relabeled) == (2, 1, 1)
    assert shard_texts(tmp_path / "root", summary.manifest) == {
        0: one,
        1: f"{two} Write to <EMAIL> or to <EMAIL>.",
    }
    found = what_if(str(tmp_path / "root"), summary.run, {})
    assert found.reasons == found.reasons_before == summary.reasons
    more = what_if(str(tmp_path / "root"), summary.run, {"personal_data.max_emails": None})
    assert (more.kept, more.reasons) == (3, {masked: 2})


def test_every_column_of_an_exchange_is_masked(tmp_path: Path) -> None:
    rows = [{"id": 0, "instruction": MAIL, "input": None, "output": "It is done."}]
    columns = {name: name for name in ("instruction", "input", "output")}
    recipe: dict[str, Any] = {"task": "instruction", "columns": columns, "process": ["personal_data"]}
    summary, _ = curated(tmp_path, [*rows, {**rows[0], "id": 1, "input": "a@b.de"}], recipe)
    root = tmp_path / "root"
    assert shard_texts(root, summary.manifest, "input") == {0: None, 1: "<EMAIL>"}
    assert set(shard_texts(root, summary.manifest, "instruction").values()) == {"Write to <EMAIL> or to <EMAIL>."}


def test_copies_are_told_by_what_they_held(tmp_path: Path) -> None:
    [text] = prose(1)
    rows = [
        {"id": 0, "text": f"{text} a@b.de"},
        {"id": 1, "text": f"{text} a@b.de"},
        {"id": 2, "text": f"{text} c@d.de"},
    ]
    _, ledger = curated(
        tmp_path, rows, {**TEXT, "process": ["exact_duplicates", {"personal_data": {"mask": ["email"]}}]}
    )
    assert [row["duplicate_of"] for row in ledger.values()] == [None, 0, None]


def test_a_labelled_task_drops_and_masks_nothing(tmp_path: Path, labelled: dict[str, Path]) -> None:
    from curator.run import RunRequest

    recipe = {"task": "classification", "columns": {"text": "text", "label": "label"}, "process": ["personal_data"]}
    request = RunRequest(inputs=(str(labelled["a"]),), recipe=parse(recipe).model_dump(mode="json"))
    with pytest.raises(RecipeError, match="where rows have labels say `mask: "):
        make_plan(request)

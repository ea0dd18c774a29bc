"""What is written is what was judged: an input that changes under a run is told of, whatever its size."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curator.errors import InputError, StoppedError
from curator.feedback import FEEDBACK_FILE, write_batch, write_snapshot
from curator.recipe import parse
from curator.run import RunRequest
from curator.storage import Store
from pipelines.job import Job
from tests.pipelines.conftest import MemoryJournal
from tests.pipelines.test_execute import go, labelled_recipe

Row = dict[str, Any]
ROWS: list[Row] = [
    {"id": f"row-{n:04d}", "text": f"the {'ball' if n % 2 else 'bank'} number {n:04d}", "label": "ab"[n % 2]}
    for n in range(150)
]


def lay(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def swapped(rows: list[Row], name: str) -> list[Row]:
    """Rows 120 and 121 with this cell exchanged: the file is as long as it was."""
    rows = [dict(row) for row in rows]
    rows[120][name], rows[121][name] = rows[121][name], rows[120][name]
    return rows


@pytest.mark.parametrize(
    ("columns", "change", "row"),
    [
        ({"id": "id"}, lambda rows: rows[::-1], 0),
        ({"id": None}, lambda rows: rows[::-1], 0),
        ({"id": "id"}, lambda rows: swapped(rows, "id"), 120),
        ({"id": "id"}, lambda rows: swapped(rows, "text"), 120),
        ({"id": "id"}, lambda rows: swapped(rows, "label"), 120),
    ],
)
def test_an_input_that_changed_at_the_same_size_is_refused(
    tmp_path: Path, columns: dict[str, Any], change: Callable[[list[Row]], list[Row]], row: int
) -> None:
    path = tmp_path / "rows.jsonl"
    lay(path, ROWS)
    size = path.stat().st_size
    columns = {"text": "text", "label": "label", **columns}
    request = RunRequest(inputs=(str(path),), recipe=labelled_recipe(columns=columns, policy={"kind": "rules"}))
    journal = MemoryJournal()
    with pytest.raises(StoppedError):
        go(tmp_path / "root", request, stopping_before(journal, "write"))
    written = path.stat().st_mtime_ns
    lay(path, change(ROWS))
    assert path.stat().st_size == size
    with pytest.raises(InputError, match="changed in between"):
        go(tmp_path / "root", request, journal)
    os.utime(path, ns=(written, written))  # as a copy that keeps times; object stores tell no time at all
    with pytest.raises(InputError, match=r"changed while the run worked on it.*Start a new run") as caught:
        go(tmp_path / "root", request, journal)
    assert (caught.value.file, caught.value.row) == (str(path), row)
    assert not Store.open(tmp_path / "root").list("manifests")


def stopping_before(journal: MemoryJournal, step: str) -> MemoryJournal:
    """A view of the journal that asks for a stop once `step` is next."""

    class Until(MemoryJournal):
        def done(self, name: str) -> dict[int, dict[str, Any]]:
            if name == step:
                raise StoppedError("pause")
            return super().done(name)

    view = Until()
    view.outputs = journal.outputs
    return view


def test_rows_that_are_no_longer_used_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lay(path, [{**row, "split": "train"} for row in ROWS])
    recipe = labelled_recipe(where={"split": ["train"]}, policy={"kind": "rules"})
    request, journal = RunRequest(inputs=(str(path),), recipe=recipe), MemoryJournal()
    with pytest.raises(StoppedError):
        go(tmp_path / "root", request, stopping_before(journal, "write"))
    written = path.stat().st_mtime_ns
    lay(path, [{**row, "split": "train" if row is not ROWS[-1] else "other"} for row in ROWS])
    os.utime(path, ns=(written, written))
    with pytest.raises(InputError, match="49 rows are used now where 50 were judged"):
        go(tmp_path / "root", request, journal)


@pytest.mark.parametrize("matching", [0, 3])
def test_feedback_about_none_of_the_rows_is_told_of(tmp_path: Path, matching: int) -> None:
    path, root = tmp_path / "rows.jsonl", tmp_path / "root"
    lay(path, ROWS)
    recipe = parse(labelled_recipe()).model_dump(mode="json")
    go(root, RunRequest(inputs=(str(path),), recipe=recipe), run="run_before")
    known = Job(str(root), "run_before").read_side(0, "signals", ["sample_id"])["sample_id"].to_pylist()[:matching]
    ids = [*known, *(bytes([n]) * 16 for n in range(10))]
    columns = [pa.array(ids, pa.binary(16)), [0] * len(ids), [1] * len(ids), [0.5] * len(ids), [None] * len(ids)]
    batch = pa.table([pa.array(c, f.type) for c, f in zip(columns, FEEDBACK_FILE, strict=True)], schema=FEEDBACK_FILE)
    store = Store.open(root)
    name = write_snapshot(store, [(write_batch(store, "trn_1", batch)[0], pa.array([True] * len(ids)).to_numpy(False))])
    journal = MemoryJournal()
    warnings = go(root, RunRequest(inputs=(str(path),), recipe=recipe, feedback=name), journal).warnings
    assert sum(output["reported"] for output in journal.outputs["write"].values()) == matching
    assert any("0 of 150 rows have a reported loss" in line for line in warnings) is (matching == 0)

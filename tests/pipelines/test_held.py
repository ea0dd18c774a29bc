"""A held unit gives the rows that reading gives, once and again, and is no more than a matter of speed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipelines.held as held
from curator.errors import InputError
from curator.recipe import parse
from curator.run import RunRequest
from pipelines.held import Held
from pipelines.inline import InlineEngine
from pipelines.job import Job
from pipelines.plan import Plan, make_plan
from pipelines.rows import used_rows

ROWS = 5_000


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    table = pa.table({"id": range(ROWS), "text": [f"text number {n}" for n in range(ROWS)], "side": ["a", "b"] * 2_500})
    for part in range(2):
        name = tmp_path / f"{part}.parquet"
        pq.write_table(table.slice(part * 2_500, 2_500), name, row_group_size=700)
    recipe = {"task": "text", "columns": {"text": "text", "id": "id"}, "where": {"side": ["a"]}}
    return make_plan(RunRequest(inputs=(str(tmp_path),), recipe=parse(recipe).model_dump(mode="json")))


def rows_of(parts: Any) -> list[Any]:
    return [(numbers.tolist(), batch.schema.names, batch.to_pylist()) for numbers, batch in parts]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The units that were read from their files, one entry for each time."""
    seen: list[int] = []

    def counted(plan: Plan, unit: int, *, columns: Sequence[str] | None = None) -> Any:
        seen.append(unit)
        return used_rows(plan, unit, columns=columns)

    monkeypatch.setattr(held, "used_rows", counted)
    return seen


@pytest.mark.parametrize("columns", [None, ["text"], ["text", "id", "text"]])
def test_what_is_held_is_what_was_read(plan: Plan, reads: list[int], columns: list[str] | None) -> None:
    rows = Held()
    for unit in (0, 1, 0, 1):
        expected = rows_of(used_rows(plan, unit, columns=columns))
        assert rows_of(rows.used_rows(plan, unit, columns=columns)) == expected
    assert reads == [0, 1]


def test_what_does_not_fit_is_read_each_time(plan: Plan, reads: list[int]) -> None:
    size = sum(batch.nbytes for _, batch in used_rows(plan, 0))
    rows = Held(max(size, plan.units[0].bytes) + 10)
    for unit in (0, 1, 1, 0):
        assert rows_of(rows.used_rows(plan, unit)) == rows_of(used_rows(plan, unit))
    assert reads == [0, 1, 1]


def test_a_unit_that_is_larger_than_was_thought_is_not_held(plan: Plan, reads: list[int]) -> None:
    few = plan.units[0].model_copy(update={"bytes": 1})
    small = plan.model_copy(update={"units": (few, *plan.units[1:])})
    rows = Held(100)
    for _ in range(2):
        assert rows_of(rows.used_rows(small, 0)) == rows_of(used_rows(plan, 0))
    assert reads == [0, 0]


def test_a_unit_that_was_not_read_to_its_end_is_not_held(plan: Plan, reads: list[int]) -> None:
    rows = Held()
    next(rows.used_rows(plan, 0))
    assert len(rows_of(rows.used_rows(plan, 0))) > 1
    assert reads == [0, 0]


def test_a_file_that_changed_is_told_of_though_its_rows_are_held(plan: Plan) -> None:
    rows = Held()
    rows_of(rows.used_rows(plan, 0))
    path = Path(plan.units[0].source.uri)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="changed in between"):
        rows_of(rows.used_rows(plan, 0))


def test_a_process_that_walks_the_whole_road_holds_rows_and_a_worker_does_not(tmp_path: Path) -> None:
    job = Job(str(tmp_path), "run_1")
    assert job.held is None
    assert InlineEngine(job).job.held is not None
    assert InlineEngine(job).job == job

"""Samples are the lowest ids within their bounds, wherever the rows lie, and are loaded as they were read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines.sample as sample
from curator.recipe import parse
from curator.run import RunRequest
from curator.sample_id import from_ids
from pipelines.job import Job
from pipelines.phases.score import score
from pipelines.plan import make_plan
from pipelines.sample import Lowest, contents, share_set_aside
from pipelines.side import bytes_matrix

LABELLED = {"task": "classification", "columns": {"text": "text", "label": "label"}}


def test_a_row_that_fits_before_one_that_does_not_is_taken_even_if_it_comes_later() -> None:
    ids = np.zeros((3, 16), np.uint8)
    ids[:, 0] = [1, 3, 2]
    lowest = Lowest(max_rows=9, max_bytes=10)
    lowest.add(0, np.array([0, 1]), ids[:2], np.array([4, 30]))  # so much that the second is forgotten at once
    lowest.add(1, np.array([0]), ids[2:], np.array([6]))
    assert lowest.places()[["unit", "row"]].tolist() == [(0, 0), (1, 0)]


@given(
    st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 300), st.lists(st.integers(0, 40), min_size=1), st.data()
)
def test_the_lowest_ids_within_both_bounds_in_whatever_pieces_they_come(
    seed: int, max_rows: int, max_bytes: int, sizes: list[int], data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 256, (len(sizes), 16)).astype(np.uint8)
    ids[:, 0] //= 100  # many share the first byte: the later ones tell
    order = sorted(range(len(sizes)), key=lambda row: ids[row].tobytes())
    expected, total = order[:1], sizes[order[0]]
    for row in order[1:max_rows]:
        total += sizes[row]
        if total > max_bytes:
            break
        expected.append(row)
    lowest = Lowest(max_rows, max_bytes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sizes)), max_size=6)))
    units = np.split(rng.permutation(len(sizes)), cuts)
    for unit, rows in enumerate(units):
        lowest.add(unit, rows, ids[rows], np.array(sizes, np.int64)[rows])
    places = lowest.places()
    assert places["row"].tolist() == expected
    assert all(row in units[unit] for unit, row in zip(places["unit"], places["row"], strict=True))


def test_only_what_may_be_chosen_is_held() -> None:
    rng, lowest = np.random.default_rng(0), Lowest(100, 1 << 40)
    for unit in range(200):
        lowest.add(unit, np.arange(50), rng.integers(0, 256, (50, 16)).astype(np.uint8), np.ones(50, np.int64))
        assert sum(map(len, lowest._parts)) <= 2 * 100 + 50


def job_over(folder: Path, rows: list[dict[str, Any]], **recipe: Any) -> Job:
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet", row_group_size=64)
    chosen = parse({"task": "text", "columns": {"text": "text"}, "unit_rows": 64, **recipe})
    request = RunRequest(inputs=(str(folder / "data.parquet"),), recipe=chosen.model_dump(mode="json"))
    job = Job(str(folder / "root"), "run_1")
    job.store.write_bytes(job.name("plan.json"), make_plan(request).model_dump_json().encode())
    return job


def scored(job: Job, rows: int) -> dict[int, dict[str, Any]]:
    return {unit: score(job, unit, {"validate": {"rows": rows}}) for unit in range(len(job.plan.units))}


def all_places(job: Job, outputs: dict[int, dict[str, Any]], max_rows: int) -> np.ndarray:
    lowest = Lowest(max_rows, 1 << 40)
    for unit, output in outputs.items():
        ids = bytes_matrix(job.read_side(unit, "signals")["sample_id"], np.uint8)
        lowest.add(unit, np.arange(output["rows"]), ids, np.ones(output["rows"], np.int64))
    return lowest.places()


@pytest.mark.parametrize("aside_rows", [0, 12, 60])
def test_contents_are_those_of_the_rows_set_aside_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aside_rows: int
) -> None:
    """Nothing set aside, less than is asked for, and all of it."""
    monkeypatch.setattr(sample, "ASIDE_ROWS", aside_rows)
    rows = [{"id": n, "text": f"text number {n}", "tag": n % 3} for n in range(600)]
    job = job_over(tmp_path, rows, where={"tag": [0, 1]})
    outputs = scored(job, 400)
    assert {output["aside"] for output in outputs.values()} == {aside_rows > 0}
    places = all_places(job, outputs, 30)
    names = from_ids(pa.array(range(600))).to_pylist()
    expected = sorted((row for row in rows if row["tag"] < 2), key=lambda row: names[row["id"]])[:30]
    found = contents(job, places, outputs)
    assert found.to_pylist() == [row["text"] for row in expected] and found.type == pa.large_string()


def test_what_was_set_aside_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "ASIDE_ROWS", 60)
    job = job_over(tmp_path, [{"id": n, "text": f"text number {n}"} for n in range(600)])
    outputs = scored(job, 600)
    (tmp_path / "data.parquet").unlink()
    assert len(contents(job, all_places(job, outputs, 30), outputs)) == 30


@pytest.mark.parametrize(
    ("rows", "row_bytes", "recipe", "expected"),
    [
        (1_000, 100, {}, 0.0),  # most would be set aside
        (1_000_000, 100, {}, 0.022),
        (1_000_000, 1 << 20, {}, 512 / 1_000_000),  # wide rows: by bytes
        (1_000_000, 100, LABELLED, 0.022),
        (1_000_000, 100, {**LABELLED, "encoder": {"text": "a/model"}}, 0.0),  # it learns nothing
    ],
)
def test_how_much_is_set_aside(rows: int, row_bytes: int, recipe: dict[str, Any], expected: float) -> None:
    units = [SimpleNamespace(rows=rows // 4, bytes=rows // 4 * row_bytes)] * 4
    chosen = parse({"task": "text", "columns": {"text": "text"}, **recipe})
    job: Any = SimpleNamespace(plan=SimpleNamespace(units=units), recipe=chosen)
    assert share_set_aside(job, rows) == pytest.approx(expected)

"""Duplicates of a unit come back as they were found, and reading them touches that unit's part of the file alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator.digest import content_id
from curator.recipe import parse
from pipelines.copies import COPIES, by_row, read_copies, write_copies
from pipelines.job import Job
from pipelines.plan import Plan


def job_at(root: Path, process: list[str]) -> Job:
    job = Job(str(root), "run_1")
    plan = Plan(
        recipe=parse({"task": "text", "columns": {"text": "text", "id": None}, "process": process}),
        arrow_schema="",
        units=(),
        dataset_version=content_id("dv", []),
    )
    job.store.write_bytes(job.name("plan.json"), plan.model_dump_json().encode())
    return job


def batch_of(rows: list[int], seed: int = 0) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    ids = pa.array([rng.bytes(16) for _ in rows], pa.binary(16))
    operators = pa.array(rng.integers(0, 3, len(rows)), pa.int16())
    return pa.record_batch([pa.array(rows, pa.int64()), operators, ids, rng.random(len(rows), np.float32)], COPIES)


def test_rows_are_spread() -> None:
    batch = batch_of([1, 4])
    copies = by_row(batch, 6)
    assert copies.operator.tolist() == [-1, batch["operator"][0].as_py(), -1, -1, batch["operator"][1].as_py(), -1]
    assert copies.duplicate_of.to_pylist() == [None, batch[2][0].as_py(), None, None, batch[2][1].as_py(), None]
    assert np.flatnonzero(~np.isnan(copies.similarity)).tolist() == [1, 4]


def test_a_unit_reads_its_own_part_alone(tmp_path: Path) -> None:
    job = job_at(tmp_path, ["exact_duplicates"])
    batches = [batch_of(list(range(200)), 1), batch_of([], 2), batch_of([0, 7], 3)]
    write_copies(job, batches)
    for unit, (batch, rows) in enumerate(zip(batches, (200, 5, 8), strict=True)):
        found, wanted = read_copies(job, unit, rows), by_row(batch, rows)
        assert found.duplicate_of.equals(wanted.duplicate_of)
        np.testing.assert_array_equal(found.operator, wanted.operator)
        np.testing.assert_array_equal(found.similarity, wanted.similarity)
    path = tmp_path / job.name("resolve", "duplicates.arrow")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x04\x22\x4d\x18")  # the first LZ4 frame: data of unit 0
    raw[at : at + 4] = b"\0\0\0\0"
    path.write_bytes(raw)
    assert read_copies(job, 2, 8).operator[7] == batches[2]["operator"][1].as_py()
    with pytest.raises(OSError, match="LZ4"):
        read_copies(job, 0, 200)


def test_a_recipe_without_set_operators_has_no_file(tmp_path: Path) -> None:
    copies = read_copies(job_at(tmp_path, []), 0, 3)
    assert copies.operator.tolist() == [-1] * 3 and copies.duplicate_of.null_count == 3

"""The truth of trusted rows: looked up by id, the sample opened once for all units."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.job import Job
from pipelines.judging import truth_of


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run with 500 trusted rows, in no order of their ids."""
    job = Job(str(tmp_path), "run_1")
    write(job, 0)
    job.__dict__["plan"] = SimpleNamespace(trusted="trusted.parquet")
    return job


def write(job: Job, offset: int) -> None:
    truth = pa.array((np.arange(500) + offset) % 7)
    batch = pa.record_batch(
        [pa.array([key.tobytes() for key in ids(500)], pa.binary(16)), truth], ["sample_id", "truth"]
    )
    job.write(job.name("trusted.arrow"), batch)


def ids(num: int) -> np.ndarray:
    """Ids that share their first eight bytes, and some that end in zeros."""
    made = np.random.default_rng(0).integers(0, 256, (num, 16)).astype(np.uint8)
    made[::3, :8] = 7
    made[::5, 12:] = 0
    return made


def test_every_trusted_row_has_its_truth_and_no_other_row_has(job: Job) -> None:
    wanted = np.random.default_rng(1).permutation(ids(1500))
    known = {row.tobytes(): n % 7 for n, row in enumerate(ids(500))}
    assert truth_of(job, wanted).tolist() == [known.get(row.tobytes(), -1) for row in wanted]
    assert truth_of(job, wanted[:0]).tolist() == []


def test_the_sample_is_read_once_however_many_units_ask(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = Job.read
    monkeypatch.setattr(Job, "read", lambda self, name, *rest: read.append(name) or whole(self, name, *rest))
    for _ in range(5):
        truth_of(job, ids(100))
    assert read == ["runs/run_1/trusted.arrow"]


def test_another_attempt_of_the_run_reads_what_lies_there_now(job: Job) -> None:
    before = truth_of(job, ids(500))
    write(job, 1)
    again = Job(job.root, job.run)
    again.__dict__["plan"] = job.plan
    assert (truth_of(again, ids(500)) == (before + 1) % 7).all()


def test_without_a_trusted_sample_nothing_is_known(job: Job) -> None:
    plain: Any = SimpleNamespace(plan=SimpleNamespace(trusted=None))
    assert (truth_of(plain, ids(9)) == -1).all()

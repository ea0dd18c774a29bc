"""Feedback into the catalog: what counts, what is clipped, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator.catalog import LOCAL_TENANT, Catalog, TrainingJob
from curator.errors import IntegrityError
from curator.feedback import LOSS_MOST
from curator.storage import Store
from pipelines.training.feedback import FeedbackBuffer
from pipelines.training.reported import CatalogFeedback

IDS = pa.array([b"a" * 16, b"b" * 16, b"c" * 16], pa.binary(16))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path}/winnow.db") as opened:
        yield opened


def _table(job: str, losses: list[float], epoch: int = 0) -> pa.Table:
    out: list[pa.Table] = []
    buffer = FeedbackBuffer(out.append, plan="epl_1", training_job=job)
    buffer.add(IDS, epoch, 1, np.array(losses, np.float32), None)
    buffer.flush()
    return out[0]


def _made(catalog: Catalog, tmp_path: Path) -> tuple[TrainingJob, CatalogFeedback]:
    job = catalog.jobs.create(LOCAL_TENANT, "external", plan=None, spec={})
    return job, CatalogFeedback(catalog, Store.open(tmp_path), job)


def test_each_row_counts_once_and_losses_are_clipped_and_counted(catalog: Catalog, tmp_path: Path) -> None:
    job, feedback = _made(catalog, tmp_path)
    feedback(_table(job.id, [0.5, 99.0, 20.0]))
    feedback(_table(job.id, [0.5, 99.0, 20.0]))
    feedback(_table(job.id, [0.25, 1.0, 2.0]))
    feedback(_table(job.id, [0.25, 1.0, 2.0], epoch=1))
    assert feedback.counts() == {"rows": 12, "accepted": 9, "clipped": 2}
    batches = catalog.feedback.batches(LOCAL_TENANT, job.id)
    assert [batch.accepted for batch in batches] == [3, 0, 3]
    first = pa.ipc.open_file(pa.memory_map(str(tmp_path / batches[0].path))).read_all()
    assert first.schema.names == ["sample_id", "epoch", "step", "loss", "correct"]
    assert first.column("loss").to_pylist() == [0.5, LOSS_MOST, LOSS_MOST]
    assert first.column("sample_id").to_pylist() == IDS.to_pylist()


def test_no_job_speaks_for_another(catalog: Catalog, tmp_path: Path) -> None:
    job, feedback = _made(catalog, tmp_path)
    with pytest.raises(IntegrityError, match="trn_other"):
        feedback(_table("trn_other", [0.5, 1.0, 2.0]))
    assert not catalog.feedback.batches(LOCAL_TENANT, job.id)

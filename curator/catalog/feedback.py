"""Feedback from training: each (job, epoch, sample) is accepted once, whatever is sent twice.

Knows nothing of losses; the batch itself is a file in the store, written before it is recorded here. What counts is
the batch's mask in the catalog: a crash between the two leaves a file nobody reads.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.schema import feedback_batches, feedback_seen, training_jobs
from curator.catalog.schema_plans import epoch_losses
from curator.errors import ConflictError, NotFoundError, RequestError

__all__ = ["Feedback", "FeedbackBatch", "Receipt"]

_ID_BYTES: Final = 16
_IDS_A_QUERY: Final = 5000  # SQLite takes 32,766 parameters in a statement
MAX_ROWS: Final = 100_000


class Receipt(BaseModel):
    """What became of a batch; the rest of its rows had been accepted before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    rows: int
    accepted: int


class FeedbackBatch(BaseModel):
    """A recorded batch: its file and which of its rows count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    digest: str
    path: str
    rows: int
    accepted: int
    mask: bytes
    created_at: dt.datetime

    def counts(self) -> npt.NDArray[np.bool_]:
        """bool (rows,): True where the row was accepted from this batch."""
        return np.unpackbits(np.frombuffer(self.mask, np.uint8), count=self.rows).astype(bool)


class Feedback:
    def __init__(self, database: Database):
        self._db = database

    def accept(
        self,
        tenant: str,
        job_id: str,
        *,
        digest: str,
        path: str,
        sample_ids: Sequence[bytes],
        epochs: npt.NDArray[np.integer[Any]],
    ) -> Receipt:
        """Records a batch of rows `(sample_ids[i], epochs[i])` that lies at `path`; `digest` is of its bytes.

        Of rows that name the same epoch and sample the first ever sent counts. The same batch again gives the same
        receipt. One transaction; batches of one job queue up behind each other. Raises NotFoundError for another
        tenant's job, RequestError for ids that are not 16 bytes or more than 100,000 rows.
        """
        _checked(sample_ids, epochs)
        with self._db.write() as connection:
            job = _locked_job(connection, tenant, job_id)
            earlier = _batch(connection, job, digest)
            if earlier is not None:
                return Receipt(digest=digest, rows=earlier.rows, accepted=earlier.accepted)
            mask = np.zeros(len(sample_ids), bool)
            for epoch in np.unique(epochs):
                rows = np.flatnonzero(epochs == epoch)
                mask[rows] = _accept_epoch(connection, job, int(epoch), [sample_ids[row] for row in rows.tolist()])
            values = {"job": job, "digest": digest, "path": path, "rows": len(mask), "accepted": int(mask.sum())}
            packed = np.packbits(mask).tobytes()
            connection.execute(sa.insert(feedback_batches).values(mask=packed, created_at=now(), **values))
            return Receipt(digest=digest, rows=len(mask), accepted=int(mask.sum()))

    def accept_losses(self, tenant: str, job_id: str, epoch: int, losses: Mapping[str, float | None]) -> bool:
        """Records the mean loss of each difficulty in an epoch; False when it was recorded before. Raises
        NotFoundError, ConflictError when other losses were."""
        with self._db.write() as connection:
            job = _locked_job(connection, tenant, job_id)
            key = {"job": job, "epoch": epoch}
            fresh = insert_new(connection, epoch_losses, **key, losses=dict(losses), created_at=now())
            held = connection.execute(sa.select(epoch_losses.c.losses).filter_by(**key)).scalar_one()
            if held != dict(losses):
                raise ConflictError(f"training job {job_id} has reported epoch {epoch} with other losses; these hold")
            return fresh

    def losses(self, tenant: str, job_id: str) -> dict[int, dict[str, float | None]]:
        """What a job reported of each epoch by difficulty. Raises NotFoundError."""
        with self._db.read() as connection:
            job = _locked_job(connection, tenant, job_id, lock=False)
            query = sa.select(epoch_losses.c.epoch, epoch_losses.c.losses).filter_by(job=job)
            return {epoch: dict(told) for epoch, told in connection.execute(query.order_by(epoch_losses.c.epoch))}

    def totals(self, tenant: str, job_id: str) -> tuple[int, int]:
        """(batches, rows that count) of a job. Raises NotFoundError."""
        with self._db.read() as connection:
            job = _locked_job(connection, tenant, job_id, lock=False)
            query = sa.select(sa.func.count(), sa.func.sum(feedback_batches.c.accepted)).where(
                feedback_batches.c.job == job
            )
            batches, rows = connection.execute(query).one()
            return int(batches), int(rows or 0)

    def counted(self, tenant: str, jobs: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """(path, which of its rows count) of every batch of the jobs. Raises NotFoundError for an unknown job."""
        for job in jobs:
            after = 0
            while found := self.batches(tenant, job, after=after):
                yield from ((batch.path, batch.counts()) for batch in found)
                after = found[-1].number

    def batches(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 1000) -> list[FeedbackBatch]:
        """Recorded batches numbered above `after`, in the order of acceptance. Raises NotFoundError."""
        columns = [feedback_batches.c[name] for name in FeedbackBatch.model_fields]
        with self._db.read() as connection:
            job = _locked_job(connection, tenant, job_id, lock=False)
            query = sa.select(*columns).where(feedback_batches.c.job == job, feedback_batches.c.number > after)
            rows = connection.execute(query.order_by(feedback_batches.c.number).limit(limit)).mappings()
            return [FeedbackBatch(**row) for row in rows]


def _accept_epoch(connection: sa.Connection, job: int, epoch: int, ids: list[bytes]) -> list[bool]:
    seen: set[bytes] = set()
    key = sa.and_(feedback_seen.c.job == job, feedback_seen.c.epoch == epoch)
    for start in range(0, len(ids), _IDS_A_QUERY):
        part = ids[start : start + _IDS_A_QUERY]
        query = sa.select(feedback_seen.c.sample_id).where(key, feedback_seen.c.sample_id.in_(part))
        seen.update(bytes(found) for found in connection.execute(query).scalars())
    accepted, fresh = [], []
    for sample_id in ids:
        accepted.append(sample_id not in seen)
        if accepted[-1]:
            seen.add(sample_id)
            fresh.append({"job": job, "epoch": epoch, "sample_id": sample_id})
    if fresh:
        connection.execute(sa.insert(feedback_seen), fresh)
    return accepted


def _batch(connection: sa.Connection, job: int, digest: str) -> Receipt | None:
    columns = [feedback_batches.c[name] for name in Receipt.model_fields]
    row = connection.execute(sa.select(*columns).filter_by(job=job, digest=digest)).mappings().one_or_none()
    return None if row is None else Receipt(**row)


def _locked_job(connection: sa.Connection, tenant: str, job_id: str, *, lock: bool = True) -> int:
    query = sa.select(training_jobs.c.number).where(training_jobs.c.tenant == tenant, training_jobs.c.id == job_id)
    number = connection.execute(query.with_for_update() if lock else query).scalar()
    if number is None:
        raise NotFoundError(f"there is no training job {job_id!r}; check the id and the credential")
    return int(number)


def _checked(sample_ids: Sequence[bytes], epochs: npt.NDArray[np.integer[Any]]) -> None:
    if not 0 < len(sample_ids) <= MAX_ROWS or len(epochs) != len(sample_ids):
        raise RequestError(
            f"a feedback batch has 1..{MAX_ROWS} rows with one epoch each, "
            f"this one {len(sample_ids)} ids and {len(epochs)} epochs"
        )
    wrong = next((row for row, sample_id in enumerate(sample_ids) if len(sample_id) != _ID_BYTES), None)
    if wrong is not None:
        raise RequestError(f"row {wrong}: a sample id has {_ID_BYTES} bytes, this one {len(sample_ids[wrong])}")
    if int(np.min(epochs)) < 0:
        raise RequestError(f"row {int(np.argmin(epochs))}: epoch {int(np.min(epochs))} is negative")

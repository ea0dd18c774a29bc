"""Training jobs: who trains on which plan, here or elsewhere, and how it went.

Knows nothing of training; feedback (feedback.py) is bound to a job's identity. A managed job is leased to a runner like
a run is, with a fence; cancelling it takes the lease away.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.events import emit
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import training_jobs
from curator.errors import ConflictError, LeaseLostError, NotFoundError

__all__ = ["ClaimedJob", "JobState", "Jobs", "TrainingJob"]


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = JobState
_MOVES: Final = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED, _S.FAILED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.QUEUED}),
    _S.SUCCEEDED: frozenset[JobState](),
    _S.FAILED: frozenset[JobState](),
    _S.CANCELLED: frozenset[JobState](),
}


class TrainingJob(BaseModel):
    """`mode` external: the caller trains and reports; such a job is running from its birth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    id: str
    tenant: str
    mode: Literal["managed", "external"]
    plan: str | None
    spec: dict[str, Any]
    state: JobState
    attempt: int
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class ClaimedJob(BaseModel):
    """A managed job that is this process's to train, as long as the fence holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    plan: str | None
    spec: dict[str, Any]
    attempt: int
    owner: str
    fence: int


_COLUMNS: Final = [training_jobs.c[name] for name in TrainingJob.model_fields]
_EXPIRED: Final = (training_jobs.c.lease_until < now()).label("expired")
_NO_LEASE: Final[dict[str, Any]] = {"lease_owner": None, "lease_until": None}


class Jobs:
    def __init__(self, database: Database):
        self._db = database

    def create(
        self,
        tenant: str,
        mode: Literal["managed", "external"],
        *,
        plan: str | None,
        spec: Mapping[str, Any],
        job_id: str | None = None,
    ) -> TrainingJob:
        """A job; `spec` is its request as JSON (entry, resources, parameters)."""
        values = {
            "id": job_id or new_id("trn"),
            "tenant": tenant,
            "mode": mode,
            "plan": plan,
            "spec": dict(spec),
            "state": _S.QUEUED if mode == "managed" else _S.RUNNING,
            "attempt": 1,
            "fence": 0,
            "version": 1,
            "created_at": now(),
            "updated_at": now(),
        }
        with self._db.write() as connection:
            inserted = insert_new(connection, training_jobs, **values)
            job = _job(connection, tenant, str(values["id"]))
            if inserted:
                _tell(connection, job, None)
            return job

    def get(self, tenant: str, job_id: str) -> TrainingJob:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _job(connection, tenant, job_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[TrainingJob]:
        """The tenant's jobs, newest first."""
        query = sa.select(*_COLUMNS).where(training_jobs.c.tenant == tenant)
        if cursor is not None:
            query = query.where(training_jobs.c.id < decode_cursor(cursor, [str])[0])
        query = query.order_by(training_jobs.c.id.desc()).limit(checked_limit(limit) + 1)
        with self._db.read() as connection:
            found = [TrainingJob(**row) for row in connection.execute(query).mappings()]
        return page_of(found, limit, lambda job: (job.id,))

    def move(
        self,
        tenant: str,
        job_id: str,
        to: JobState,
        *,
        from_states: Collection[JobState] | None = None,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> TrainingJob:
        """Moves a job. Raises NotFoundError; ConflictError naming both states for an unlawful move (or one from
        outside `from_states`), and for a `version` (If-Match) that is not the present one."""
        with self._db.write() as connection:
            job = _job(connection, tenant, job_id)
            if version is not None and job.version != version:
                raise ConflictError(f"job {job_id} is at version {job.version}, the request was made for {version}")
            if to not in _MOVES[job.state] or (from_states is not None and job.state not in from_states):
                raise ConflictError(f"job {job_id} is {job.state} and cannot move to {to}; nothing was changed")
            values: dict[str, Any] = {} if result is None else {"result": dict(result)}
            values |= {} if error is None else {"error": dict(error)}
            return _moved(connection, job, to, **values)

    def claim(self, owner: str, lease_s: float) -> ClaimedJob | None:
        """Takes the oldest managed job that is queued, for `lease_s` seconds; None if there is none. Two runners never
        get the same job."""
        waiting = sa.and_(training_jobs.c.mode == "managed", training_jobs.c.state == _S.QUEUED)
        query = sa.select(*_COLUMNS).where(waiting).order_by(training_jobs.c.number)
        with self._db.write() as connection:
            row = connection.execute(query.limit(1).with_for_update(skip_locked=True)).mappings().one_or_none()
            return None if row is None else _leased(connection, TrainingJob(**row), owner, lease_s)

    def reap(self, max_attempts: int, *, is_dead: Callable[[str], bool] | None = None) -> list[TrainingJob]:
        """Takes running jobs away from owners whose lease ran out (or that `is_dead` says are gone): they are queued
        with the next attempt, or failed after `max_attempts`. Their fence moves on, so the old owner keeps nothing
        alive any more. Any runner may call this."""
        lease = sa.select(training_jobs.c.tenant, training_jobs.c.id, training_jobs.c.lease_owner, _EXPIRED)
        held = sa.and_(training_jobs.c.state == _S.RUNNING, training_jobs.c.lease_owner.is_not(None))
        with self._db.read() as connection:
            found = connection.execute(lease.where(held)).all()
        reaped = []
        for tenant, job_id, owner, expired in found:
            if expired or (is_dead is not None and is_dead(owner)):
                job = self._reap_one(tenant, job_id, owner, expired=expired, attempts=max_attempts)
                reaped += [job] if job is not None else []
        return reaped

    def _reap_one(self, tenant: str, job_id: str, owner: str, *, expired: bool, attempts: int) -> TrainingJob | None:
        """Looks again under the lock, as the owner may have come back."""
        with self._db.write() as connection:
            job = _job(connection, tenant, job_id)
            present = sa.select(training_jobs.c.lease_owner, _EXPIRED).where(training_jobs.c.id == job_id)
            holder, still_expired = connection.execute(present).one()
            if job.state != _S.RUNNING or holder != owner or (expired and not still_expired):
                return None
            fence = {"fence": training_jobs.c.fence + 1}
            if job.attempt < attempts:
                return _moved(connection, job, _S.QUEUED, attempt=job.attempt + 1, **fence)
            message = f"its runner was lost in attempt {job.attempt} of {attempts}; look for what kills it"
            return _moved(connection, job, _S.FAILED, error={"code": "lease_lost", "message": message}, **fence)

    def heartbeat(self, job: ClaimedJob, lease_s: float, progress: Mapping[str, Any] | None = None) -> None:
        """Renews the lease and writes the progress if one is given. Raises LeaseLostError when the job has ended, by a
        cancel for one, or is another runner's now."""
        with self._db.write() as connection:
            held = _held(connection, job, {_S.RUNNING, _S.QUEUED})  # who resumes a job passes through queued
            values: dict[str, Any] = {"lease_owner": job.owner, "lease_until": now() + lease_s}
            if progress is not None:
                values |= {"progress": dict(progress), "version": held.version + 1, "updated_at": now()}
            connection.execute(sa.update(training_jobs).where(training_jobs.c.id == job.id).values(**values))

    def release(self, job: ClaimedJob) -> None:
        """Its runner gives a job back as it stands: queued, the same attempt. Raises LeaseLostError when it is no
        longer this runner's, which after its end it is not."""
        with self._db.write() as connection:
            _moved(connection, _held(connection, job, {_S.RUNNING}), _S.QUEUED)


def _leased(connection: sa.Connection, job: TrainingJob, owner: str, lease_s: float) -> ClaimedJob:
    values = {
        "state": _S.RUNNING,
        "fence": training_jobs.c.fence + 1,
        "lease_owner": owner,
        "lease_until": now() + lease_s,
        "version": job.version + 1,
        "updated_at": now(),
    }
    mine = training_jobs.c.id == job.id
    connection.execute(sa.update(training_jobs).where(mine).values(**values))
    fence = connection.execute(sa.select(training_jobs.c.fence).where(mine)).scalar_one()
    _tell(connection, _job(connection, job.tenant, job.id), job.state)
    kept = {"id": job.id, "tenant": job.tenant, "plan": job.plan, "spec": job.spec}
    return ClaimedJob(attempt=job.attempt, owner=owner, fence=fence, **kept)


def _held(connection: sa.Connection, job: ClaimedJob, states: Collection[JobState]) -> TrainingJob:
    present = _job(connection, job.tenant, job.id)
    fence = connection.execute(sa.select(training_jobs.c.fence).where(training_jobs.c.id == job.id)).scalar_one()
    if fence != job.fence or present.state not in states:
        raise LeaseLostError(
            f"training job {job.id} is {present.state} with fence {fence}, this runner held fence {job.fence}; "
            "it stops here"
        )
    return present


def _moved(connection: sa.Connection, job: TrainingJob, to: JobState, **values: Any) -> TrainingJob:
    changes = {"state": to, "version": job.version + 1, "updated_at": now(), **_NO_LEASE, **values}
    connection.execute(sa.update(training_jobs).where(training_jobs.c.id == job.id).values(**changes))
    after = _job(connection, job.tenant, job.id)
    _tell(connection, after, job.state)
    return after


def _tell(connection: sa.Connection, job: TrainingJob, before: JobState | None) -> None:
    data = {"from_state": before, "to_state": job.state, "attempt": job.attempt, "version": job.version}
    emit(connection, job.tenant, "job.state", job.id, data)


def _job(connection: sa.Connection, tenant: str, job_id: str, *, lock: bool = True) -> TrainingJob:
    query = sa.select(*_COLUMNS).where(training_jobs.c.tenant == tenant, training_jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no training job {job_id!r}; check the id and the credential")
    return TrainingJob(**row)

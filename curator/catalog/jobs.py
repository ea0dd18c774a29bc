"""Training jobs: who trains on which plan, here or elsewhere, and how it went.

Knows nothing of training; feedback (feedback.py) is bound to a job's identity.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.events import emit
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import training_jobs
from curator.errors import ConflictError, NotFoundError

__all__ = ["JobState", "Jobs", "TrainingJob"]


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
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


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
            "version": 1,
            "created_at": now(),
            "updated_at": now(),
        }
        with self._db.write() as connection:
            inserted = insert_new(connection, training_jobs, **values)
            job = _job(connection, tenant, str(values["id"]))
            if inserted:
                emit(connection, tenant, "job.state", job.id, {"from_state": None, "to_state": job.state})
            return job

    def get(self, tenant: str, job_id: str) -> TrainingJob:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _job(connection, tenant, job_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[TrainingJob]:
        """The tenant's jobs, newest first."""
        query = sa.select(training_jobs).where(training_jobs.c.tenant == tenant)
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
            values: dict[str, Any] = {"state": to, "version": job.version + 1, "updated_at": now()}
            values |= {} if result is None else {"result": dict(result)}
            values |= {} if error is None else {"error": dict(error)}
            connection.execute(sa.update(training_jobs).where(training_jobs.c.id == job_id).values(**values))
            moved = _job(connection, tenant, job_id)
            emit(connection, tenant, "job.state", job_id, {"from_state": job.state, "to_state": to})
            return moved


def _job(connection: sa.Connection, tenant: str, job_id: str, *, lock: bool = True) -> TrainingJob:
    query = sa.select(training_jobs).where(training_jobs.c.tenant == tenant, training_jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no training job {job_id!r}; check the id and the credential")
    return TrainingJob(**row)

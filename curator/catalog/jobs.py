"""Training jobs: who trains on which plan, here or elsewhere, and how it went.

Knows nothing of training, nor of how a lease is kept (leased.py); feedback (feedback.py) is bound to a job's identity.
A managed job is leased to a runner like a run is, with a fence; cancelling it takes the lease away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal

import sqlalchemy as sa

from curator.catalog.database import Database
from curator.catalog.ids import new_id
from curator.catalog.leased import Claim, JobState, Leases, Work
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import training_jobs
from curator.errors import ConflictError

__all__ = ["ClaimedJob", "Jobs", "TrainingJob"]

_S = JobState
_MOVES: Final = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED, _S.FAILED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.QUEUED}),
    _S.SUCCEEDED: frozenset[JobState](),
    _S.FAILED: frozenset[JobState](),
    _S.CANCELLED: frozenset[JobState](),
}


class TrainingJob(Work):
    """`mode` external: the caller trains and reports; such a job is running from its birth."""

    number: int
    mode: Literal["managed", "external"]
    plan: str | None
    spec: dict[str, Any]


class ClaimedJob(Claim):
    """A managed job that is this process's to train, as long as the fence holds."""

    plan: str | None
    spec: dict[str, Any]


class Jobs:
    def __init__(self, database: Database):
        self._db = database
        self._leases = Leases(
            database, training_jobs, TrainingJob, ClaimedJob, oldest="number", noun="training job", event="job.state"
        )

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
        asked = {"mode": mode, "plan": plan, "spec": dict(spec)}
        state = _S.QUEUED if mode == "managed" else _S.RUNNING
        return self._leases.add(id=job_id or new_id("trn"), tenant=tenant, state=state, **asked)

    def get(self, tenant: str, job_id: str) -> TrainingJob:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return self._leases.row(connection, tenant, job_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[TrainingJob]:
        """The tenant's jobs, newest first."""
        query = sa.select(*self._leases.columns).where(training_jobs.c.tenant == tenant)
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
            job = self._leases.row(connection, tenant, job_id)
            if version is not None and job.version != version:
                raise ConflictError(f"job {job_id} is at version {job.version}, the request was made for {version}")
            if to not in _MOVES[job.state] or (from_states is not None and job.state not in from_states):
                raise ConflictError(f"job {job_id} is {job.state} and cannot move to {to}; nothing was changed")
            values: dict[str, Any] = {} if result is None else {"result": dict(result)}
            values |= {} if error is None else {"error": dict(error)}
            return self._leases.moved(connection, job, to, **values)

    def counts(self) -> dict[JobState, int]:
        """How many are in each state, of every tenant."""
        return self._leases.counts()

    def claim(self, owner: str, lease_s: float) -> ClaimedJob | None:
        """Takes the oldest managed job that is queued, of the tenant with the fewest at work, for `lease_s` seconds;
        None if there is none. Two runners never get the same job."""
        return self._leases.claim(owner, lease_s, training_jobs.c.mode == "managed")

    def reap(self, max_attempts: int, *, is_dead: Callable[[str], bool] | None = None) -> list[TrainingJob]:
        """Takes running jobs away from owners whose lease ran out (or that `is_dead` says are gone): they are queued
        with the next attempt, or failed after `max_attempts`. Their fence moves on, so the old owner keeps nothing
        alive any more. Any runner may call this."""
        return self._leases.reap(max_attempts, is_dead)

    def heartbeat(self, job: ClaimedJob, lease_s: float, progress: Mapping[str, Any] | None = None) -> None:
        """Renews the lease and writes the progress if one is given. Raises LeaseLostError when the job has ended, by a
        cancel for one, or is another runner's now."""
        resumable = {_S.RUNNING, _S.QUEUED}  # who resumes a job passes through queued
        self._leases.heartbeat(job, lease_s, progress, resumable)

    def release(self, job: ClaimedJob) -> None:
        """Its runner gives a job back as it stands: queued, the same attempt. Raises LeaseLostError when it is no
        longer this runner's, which after its end it is not."""
        self._leases.let_go(job, _S.QUEUED)

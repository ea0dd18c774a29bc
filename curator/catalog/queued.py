"""Work that callers queue and one runner at a time does to its end: told of, cancelled, claimed, finished.

Knows nothing of what the work is (exports.py, rewrites.py), nor of how a lease is kept (leased.py); cancelling takes
the lease away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from curator.catalog.database import Database
from curator.catalog.events import EventKind
from curator.catalog.leased import Claim, JobState, Leases, Work
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.errors import ConflictError

__all__ = ["QueuedWork"]

W = TypeVar("W", bound=Work)
C = TypeVar("C", bound=Claim)
_S = JobState


class QueuedWork(Generic[W, C]):
    """The rows of one table as such work. `noun` names a row in messages, `event` its events."""

    def __init__(
        self, database: Database, table: sa.Table, work: type[W], claim: type[C], *, noun: str, event: EventKind
    ):
        self._db, self._table, self._work, self._noun = database, table, work, noun
        self._leases: Leases[W, C] = Leases(database, table, work, claim, oldest="id", noun=noun, event=event)

    def get(self, tenant: str, work_id: str) -> W:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return self._leases.row(connection, tenant, work_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[W]:
        """The tenant's, newest first."""
        row = self._table.c
        query = sa.select(*self._leases.columns).where(row.tenant == tenant).order_by(row.id.desc())
        if cursor is not None:
            query = query.where(row.id < decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [self._work(**values) for values in rows]
        return page_of(found, limit, lambda work: (work.id,))

    def cancel(self, tenant: str, work_id: str, *, version: int | None = None) -> W:
        """Stops it for good. Raises NotFoundError; ConflictError for one that has ended, and for a `version` (If-Match)
        that is not the present one."""
        with self._db.write() as connection:
            work = self._leases.row(connection, tenant, work_id)
            if version is not None and work.version != version:
                raise ConflictError(
                    f"{self._noun} {work_id} is at version {work.version}, the request was for {version}"
                )
            if work.state not in (_S.QUEUED, _S.RUNNING):
                raise ConflictError(f"{self._noun} {work_id} is {work.state} and cannot be cancelled any more")
            return self._leases.moved(connection, work, _S.CANCELLED)

    def counts(self) -> dict[JobState, int]:
        """How many are in each state, of every tenant."""
        return self._leases.counts()

    def claim(self, owner: str, lease_s: float) -> C | None:
        """Takes the oldest queued one, of the tenant with the fewest at work, for `lease_s` seconds; None if there is
        none. Two runners never get the same one."""
        return self._leases.claim(owner, lease_s)

    def reap(self, max_attempts: int, *, is_dead: Callable[[str], bool] | None = None) -> list[W]:
        """Takes work away from owners whose lease ran out (or that `is_dead` says are gone): it is queued with the
        next attempt, or failed after `max_attempts`. Its fence moves on. Any runner may call this."""
        return self._leases.reap(max_attempts, is_dead)

    def heartbeat(self, claim: C, lease_s: float, progress: Mapping[str, Any] | None = None) -> None:
        """Renews the lease and writes the progress if one is given. Raises LeaseLostError when the work has ended, by
        a cancel for one, or is another runner's now."""
        self._leases.heartbeat(claim, lease_s, progress)

    def finish(self, claim: C, result: Mapping[str, Any]) -> W:
        """It is done. Raises LeaseLostError: then what was written is nobody's."""
        return self._leases.let_go(claim, _S.SUCCEEDED, result=dict(result))

    def fail(self, claim: C, error: Mapping[str, Any]) -> W:
        """It cannot be done. Raises LeaseLostError."""
        return self._leases.let_go(claim, _S.FAILED, error=dict(error))

    def release(self, claim: C, *, again: bool = False) -> None:
        """Its runner gives it back: queued, the same attempt, or with `again` the next one. Raises LeaseLostError."""
        self._leases.let_go(claim, _S.QUEUED, attempt=claim.attempt + again)

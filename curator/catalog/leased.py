"""Work that one runner at a time does: a table's rows claimed, kept alive, given back, taken from the dead.

Knows nothing of what the work is: exports (exports.py), training jobs (jobs.py), rewrites (rewrites.py) and blocks of
an epoch (readings.py) say what is created and who may move it. The fence grows with every claim and every loss, so a
runner whose lease was taken can change nothing more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.events import EventKind, emit
from curator.errors import LeaseLostError, NotFoundError

__all__ = ["Claim", "JobState", "Leases", "Work"]


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = JobState
_NO_LEASE: Final[dict[str, Any]] = {"lease_owner": None, "lease_until": None}


class Work(BaseModel):
    """What every such row tells. `version` grows with every visible change (the ETag), not with a bare heartbeat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    state: JobState
    attempt: int
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class Claim(BaseModel):
    """Work that is this process's to do, as long as the fence holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    attempt: int
    owner: str
    fence: int


W = TypeVar("W", bound=Work)
C = TypeVar("C", bound=Claim)


class Leases(Generic[W, C]):
    """The rows of one table as leased work. `oldest` orders the queue, `noun` names a row in messages, `event` is the
    kind of the event that tells of a change of state; None where nobody listens."""

    def __init__(
        self,
        database: Database,
        table: sa.Table,
        work: type[W],
        claim: type[C],
        *,
        oldest: str,
        noun: str,
        event: EventKind | None,
    ):
        self._db, self._table, self._work, self._claim = database, table, work, claim
        self._oldest, self._noun, self._event = table.c[oldest], noun, event
        self.columns: Final = [table.c[name] for name in work.model_fields]

    def add(self, **values: Any) -> W:
        """A first attempt, or the row that is there when its id was used before. Raises NotFoundError when that one is
        another tenant's."""
        with self._db.write() as connection:
            return self.add_in(connection, **values)

    def add_in(self, connection: sa.Connection, **values: Any) -> W:
        """`add`, as part of a transaction."""
        fresh = {"attempt": 1, "fence": 0, "version": 1, "created_at": now(), "updated_at": now()}
        inserted = insert_new(connection, self._table, **fresh, **values)
        work = self.row(connection, values["tenant"], values["id"])
        if inserted:
            self._tell(connection, work, None)
        return work

    def row(self, connection: sa.Connection, tenant: str, work_id: str, *, lock: bool = True) -> W:
        """The row, locked until the transaction ends. Raises NotFoundError, for another tenant's too."""
        query = sa.select(*self.columns).where(self._table.c.tenant == tenant, self._table.c.id == work_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no {self._noun} {work_id!r}; check the id and the credential")
        return self._work(**row)

    def counts(self) -> dict[JobState, int]:
        """How many rows are in each state, of every tenant: for the service's own metrics."""
        query = sa.select(self._table.c.state, sa.func.count()).group_by(self._table.c.state)
        with self._db.read() as connection:
            found = {JobState(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def moved(self, connection: sa.Connection, work: W, to: JobState, **values: Any) -> W:
        """The locked row in its new state, under no lease unless `values` give one, and the event that tells of it.
        What is lawful is the caller's affair. Last in its transaction (see `emit`)."""
        changes = {"state": to, "version": work.version + 1, "updated_at": now(), **_NO_LEASE, **values}
        connection.execute(sa.update(self._table).where(self._table.c.id == work.id).values(**changes))
        after = self.row(connection, work.tenant, work.id)
        self._tell(connection, after, work.state)
        return after

    def claim(self, owner: str, lease_s: float, *conditions: sa.ColumnElement[bool]) -> C | None:
        """Takes a queued row that meets the conditions for `lease_s` seconds: the oldest of the tenant with the fewest
        at work; None if there is none. Two runners never get the same one: the row is locked while it is chosen."""
        with self._db.write() as connection:
            return self.claim_in(connection, owner, lease_s, *conditions, before=(self._num_at_work(),))

    def claim_in(
        self,
        connection: sa.Connection,
        owner: str,
        lease_s: float,
        *conditions: sa.ColumnElement[bool],
        before: tuple[sa.ScalarSelect[int], ...] = (),
    ) -> C | None:
        """`claim`, as part of a transaction; the oldest of all, but for what is to be compared `before` that."""
        queued = sa.select(*self.columns).where(self._table.c.state == _S.QUEUED, *conditions)
        queued = queued.order_by(*before, self._oldest)
        row = connection.execute(queued.limit(1).with_for_update(skip_locked=True)).mappings().one_or_none()
        if row is None:
            return None
        work = self._work(**row)
        fence = self._lease(connection, work.id).fence + 1
        lease = {"fence": fence, "lease_owner": owner, "lease_until": now() + lease_s}
        self.moved(connection, work, _S.RUNNING, **lease)
        kept = work.model_dump(include=set(self._claim.model_fields))
        return self._claim(owner=owner, fence=fence, **kept)

    def claimed(self, tenant: str, work_id: str, fence: int) -> C:
        """The claim a caller says it has, to be held against the row by what it is used for. Raises NotFoundError."""
        with self._db.read() as connection:
            work = self.row(connection, tenant, work_id, lock=False)
            owner = self._lease(connection, work_id).lease_owner
        kept = work.model_dump(include=set(self._claim.model_fields))
        return self._claim(owner=owner or "", fence=fence, **kept)

    def heartbeat(
        self,
        claim: C,
        lease_s: float,
        progress: Mapping[str, Any] | None,
        states: Collection[JobState] = (_S.RUNNING,),
    ) -> None:
        """Renews the lease and writes the progress if one is given. Raises LeaseLostError when the row is in none of
        `states` or another runner's."""
        with self._db.write() as connection:
            held = self.held(connection, claim.tenant, claim.id, claim.fence, states)
            values: dict[str, Any] = {"lease_owner": claim.owner, "lease_until": now() + lease_s}
            if progress is not None:
                values |= {"progress": dict(progress), "version": held.version + 1, "updated_at": now()}
            connection.execute(sa.update(self._table).where(self._table.c.id == claim.id).values(**values))

    def let_go(self, claim: C, to: JobState, **values: Any) -> W:
        """Ends the lease: done, failed, or back in the queue. Raises LeaseLostError when it is no longer this
        runner's, which after its end it is not."""
        with self._db.write() as connection:
            held = self.held(connection, claim.tenant, claim.id, claim.fence, (_S.RUNNING,))
            return self.moved(connection, held, to, **values)

    def reap(
        self, max_attempts: int, is_dead: Callable[[str], bool] | None, *conditions: sa.ColumnElement[bool]
    ) -> list[W]:
        """Takes rows that meet the conditions away from owners whose lease ran out (or that `is_dead` says are gone):
        they are queued with the next attempt, or failed after `max_attempts`. Running rows that never had a lease are
        nobody's to take."""
        held = (self._table.c.state == _S.RUNNING, self._table.c.lease_owner.is_not(None))
        leases = self._leases().where(*held, *conditions)
        with self._db.read() as connection:
            found = connection.execute(leases).all()
        reaped = []
        for lease in found:
            if lease.expired or (is_dead is not None and is_dead(lease.lease_owner)):
                work = self._reap_one(lease, max_attempts)
                reaped += [work] if work is not None else []
        return reaped

    def _reap_one(self, seen: sa.Row[Any], attempts: int) -> W | None:
        """One row a transaction (see `emit`); looks again under the lock, as the owner may have come back."""
        with self._db.write() as connection:
            work = self.row(connection, seen.tenant, seen.id)
            lease = self._lease(connection, seen.id)
            came_back = seen.expired and not lease.expired
            if work.state != _S.RUNNING or lease.lease_owner != seen.lease_owner or came_back:
                return None
            fence = lease.fence + 1
            if work.attempt < attempts:
                return self.moved(connection, work, _S.QUEUED, attempt=work.attempt + 1, fence=fence)
            told = f"its runner was lost in attempt {work.attempt} of {attempts}; look for what kills it"
            error = {"code": "lease_lost", "message": told}
            return self.moved(connection, work, _S.FAILED, error=error, fence=fence)

    def held(self, connection: sa.Connection, tenant: str, work_id: str, fence: int, states: Collection[JobState]) -> W:
        """The row, locked, that a caller holds under a fence. Raises NotFoundError; LeaseLostError when it is in none
        of `states` or under another fence."""
        present = self.row(connection, tenant, work_id)
        now_under = self._lease(connection, work_id).fence
        if now_under != fence or present.state not in states:
            raise LeaseLostError(
                f"{self._noun} {work_id} is {present.state} with fence {now_under}, this runner held fence {fence}; "
                "it stops here"
            )
        return present

    def _num_at_work(self) -> sa.ScalarSelect[int]:
        """How many rows of a row's tenant are under a lease."""
        other = self._table.alias()
        theirs = (other.c.tenant == self._table.c.tenant, other.c.state == _S.RUNNING, other.c.lease_owner.is_not(None))
        return sa.select(sa.func.count()).select_from(other).where(*theirs).scalar_subquery()

    def _leases(self) -> sa.Select[Any]:
        row = self._table.c
        return sa.select(row.tenant, row.id, row.lease_owner, row.fence, (row.lease_until < now()).label("expired"))

    def _lease(self, connection: sa.Connection, work_id: str) -> sa.Row[Any]:
        return connection.execute(self._leases().where(self._table.c.id == work_id)).one()

    def _tell(self, connection: sa.Connection, work: W, before: JobState | None) -> None:
        if self._event is None:
            return
        data = {"from_state": before, "to_state": work.state, "attempt": work.attempt, "version": work.version}
        emit(connection, work.tenant, self._event, work.id, data)

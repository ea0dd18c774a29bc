"""Runs in the catalog: who asked, where each stands, and which one process owns it right now.

Knows nothing of recipes, engines or HTTP. Every change of state goes through `transition` (transitions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import sqlalchemy as sa
from pydantic import ValidationError

from curator.catalog.aliases import run_succeeded
from curator.catalog.database import Database, hold_claims, hold_manifests, insert_new, now
from curator.catalog.events import PROGRESS, emit
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.run_records import ClaimedRun, Run, RunFault, Step
from curator.catalog.schema import run_history, run_outputs, runs, tenants
from curator.catalog.transitions import ACTIVE, Row, first_history, held, locked, transition
from curator.digest import canonical_json, sha256_hex
from curator.errors import ConflictError, NotFoundError, RequestError
from curator.run import Progress, RunRequest, RunState, RunSummary, StopRequest

__all__ = ["Runs"]

_S = RunState
_NO_LEASE: Final[dict[str, Any]] = {"lease_owner": None, "lease_until": None}


class Runs:
    """Runs of all tenants; every method a caller reaches from outside takes the tenant."""

    def __init__(self, database: Database):
        self._db = database

    # --- asking ------------------------------------------------------------------------------------------------

    def create(
        self,
        tenant: str,
        request: RunRequest,
        *,
        priority: int = 0,
        run_id: str | None = None,
        against: str | None = None,
    ) -> Run:
        """Queues a run. With a `run_id` reserved by an idempotency key, asking twice gives the one run. Raises
        NotFoundError when `against`, the run it goes on from, is not there."""
        with self._db.write() as connection:
            if against is not None:
                hold_manifests(connection)
                locked(connection, against, tenant=tenant, lock=False)
            row = _create(connection, tenant, request, priority, run_id)
        return _run(row)

    def get(self, tenant: str, run_id: str) -> Run:
        """Raises NotFoundError, for another tenant's run too."""
        with self._db.read() as connection:
            query = sa.select(runs).where(runs.c.id == run_id, runs.c.tenant == tenant, runs.c.deleted_at.is_(None))
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise _unknown(run_id)
        return _run(row)

    def versions(self, run_ids: Collection[str]) -> dict[str, tuple[str, int]]:
        """(tenant, version) of each run that exists, of any tenant: what tells a poller whether anything changed."""
        query = sa.select(runs.c.id, runs.c.tenant, runs.c.version)
        query = query.where(runs.c.id.in_(run_ids), runs.c.deleted_at.is_(None))
        with self._db.read() as connection:
            return {run_id: (tenant, version) for run_id, tenant, version in connection.execute(query)}

    def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 100, states: Collection[RunState] | None = None
    ) -> Page[Run]:
        """The tenant's runs, newest first."""
        mine = sa.and_(runs.c.tenant == tenant, runs.c.deleted_at.is_(None))
        query = sa.select(runs).where(mine).order_by(runs.c.id.desc())
        if cursor is not None:
            query = query.where(runs.c.id < decode_cursor(cursor, [str])[0])
        if states is not None:
            query = query.where(runs.c.state.in_(sorted(states)))
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings().all()
        return page_of([_run(row) for row in rows], limit, lambda run: (run.id,))

    def history(self, tenant: str, run_id: str) -> list[Step]:
        """Every change of state, oldest first. Raises NotFoundError."""
        columns = [run_history.c[name] for name in Step.model_fields]
        query = sa.select(*columns).join(runs, runs.c.id == run_history.c.run)
        mine = sa.and_(runs.c.id == run_id, runs.c.tenant == tenant, runs.c.deleted_at.is_(None))
        query = query.where(mine).order_by(run_history.c.number)
        with self._db.read() as connection:
            steps = [Step(**row) for row in connection.execute(query).mappings()]
        if not steps:
            raise _unknown(run_id)
        return steps

    def counts(self, tenant: str | None = None) -> dict[RunState, int]:
        """How many runs are in each state; of every tenant if none is named (for the service's own metrics)."""
        query = sa.select(runs.c.state, sa.func.count()).where(runs.c.deleted_at.is_(None)).group_by(runs.c.state)
        if tenant is not None:
            query = query.where(runs.c.tenant == tenant)
        with self._db.read() as connection:
            found = {RunState(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in RunState}

    # --- what a person may order ---------------------------------------------------------------------------------

    def request_stop(self, tenant: str, run_id: str, stop: StopRequest, *, version: int | None = None) -> Run:
        """Cancels or pauses. A run nobody works on is cancelled at once; one that is being worked on goes to
        cancelling or pausing and its runner does the rest. Asking twice changes nothing.

        Raises NotFoundError; ConflictError if the state does not allow it or `version` (If-Match) is not the
        present one.
        """
        if stop == "shutdown":
            raise RequestError("a shutdown is the runner's own affair; ask for 'cancel' or 'pause'")
        doing, done = (_S.CANCELLING, _S.CANCELLED) if stop == "cancel" else (_S.PAUSING, _S.PAUSED)
        with self._db.write() as connection:
            row = locked(connection, run_id, tenant=tenant, version=version)
            if row.state in (doing, done):
                return _run(row)
            at_once = stop == "cancel" and row.state not in ACTIVE
            row = transition(connection, row, done if at_once else doing, f"{stop} requested")
        return _run(row)

    def resume(self, tenant: str, run_id: str, *, version: int | None = None) -> Run:
        """Puts a paused or failed run back in the queue; what it committed is kept and not done again.

        Raises NotFoundError; ConflictError for another state, or for a failure that going on cannot mend.
        """
        with self._db.write() as connection:
            row = locked(connection, run_id, tenant=tenant, version=version)
            row = _requeue(connection, row, "resumed")
        return _run(row)

    def retry(self, tenant: str, run_id: str, *, version: int | None = None) -> Run:
        """Puts a failed run back in the queue to start from nothing: its committed outputs are forgotten.

        Raises NotFoundError; ConflictError for a run that has not failed.
        """
        with self._db.write() as connection:
            row = locked(connection, run_id, tenant=tenant, version=version)
            if row.state != _S.FAILED:
                raise ConflictError(f"run {run_id} is {row.state}, only a failed run is retried; nothing was changed")
            connection.execute(sa.delete(run_outputs).where(run_outputs.c.run == run_id))
            fresh = {"attempt": row.attempt + 1, "error": None, "progress": Progress().model_dump(mode="json")}
            row = transition(connection, row, _S.QUEUED, "retried from the start", **fresh)
        return _run(row)

    # --- what a runner does --------------------------------------------------------------------------------------

    def claim(self, owner: str, lease_s: float, *, most_per_tenant: int | None = None) -> ClaimedRun | None:
        """Takes the next queued run (highest priority, then oldest) for `lease_s` seconds; None if there is none, or
        only of tenants of whom `most_per_tenant` runs are being worked on.

        Two runners never get the same run: the row is locked while it is chosen.
        """
        ready = sa.or_(runs.c.not_before.is_(None), runs.c.not_before <= now())
        admitted = sa.true() if most_per_tenant is None else runs.c.tenant.not_in(_busy(most_per_tenant))
        query = (
            sa.select(runs)
            .where(runs.c.state == _S.QUEUED, ready, admitted)
            .order_by(runs.c.priority.desc(), runs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        while True:
            with self._db.write() as connection:
                if most_per_tenant is not None:
                    hold_claims(connection)
                found = connection.execute(query).mappings().one_or_none()
                if found is None:
                    return None
                row = Row(dict(found))
                fault = _unreadable(row)
                if fault is None:
                    return _take(connection, row, owner, lease_s)
                transition(connection, row, _S.FAILED, "the stored request cannot be read", error=fault.model_dump())

    def last(self, tenant: str) -> Run:
        """The tenant's newest run. Raises NotFoundError."""
        with self._db.read() as connection:
            run_id = _last(connection, tenant)
        return self.get(tenant, run_id)

    def create_claimed(self, tenant: str, request: RunRequest, owner: str, lease_s: float) -> ClaimedRun:
        """Creates a run and takes it in one transaction, so that no other runner on this catalog can."""
        with self._db.write() as connection:
            row = _create(connection, tenant, request, 0, None)
            return _take(connection, row, owner, lease_s)

    def claim_this(
        self, tenant: str, run_id: str, owner: str, lease_s: float, *, is_dead: Callable[[str], bool] | None = None
    ) -> ClaimedRun:
        """Takes one named run (or `last`, the tenant's newest): queued, paused, failed, or with a lease that ran out
        or whose owner `is_dead` says is gone.

        Raises NotFoundError; ConflictError if it is finished or somebody works on it.
        """
        with self._db.write() as connection:
            row = locked(connection, _last(connection, tenant) if run_id == "last" else run_id, tenant=tenant)
            if row.state in ACTIVE:
                if not (_expired(connection, row) or (is_dead is not None and is_dead(str(row.lease_owner)))):
                    raise ConflictError(
                        f"run {row.id} is {row.state} under {row.lease_owner} until {row.lease_until:%H:%M:%S} UTC; "
                        "wait for it, or cancel it first"
                    )
                row = _let_go(connection, row, attempts=None)
            if row.state in (_S.PAUSED, _S.FAILED):
                row = _requeue(connection, row, "resumed here")
            if row.state != _S.QUEUED:
                raise ConflictError(f"run {row.id} is {row.state} and cannot be resumed; start a new run")
            return _take(connection, row, owner, lease_s)

    def heartbeat(self, run: ClaimedRun, lease_s: float, progress: Progress | None = None) -> RunState:
        """Renews the lease, writes the progress if one is given, and answers the run's state (so that a request to
        stop is heard). Raises LeaseLostError when the run is no longer this runner's."""
        with self._db.write() as connection:
            row = held(connection, run.id, run.fence)
            changes: dict[str, Any] = {"lease_until": now() + lease_s, "heartbeat_at": now()}
            if progress is not None:
                stored = progress.model_dump(mode="json")
                changes |= {"progress": stored, "version": runs.c.version + 1, "updated_at": now()}
            connection.execute(sa.update(runs).where(runs.c.id == run.id, runs.c.fence == run.fence).values(**changes))
            if progress is not None:
                emit(connection, run.tenant, PROGRESS, run.id, {"state": row.state, "progress": stored})
        return row.state

    def state(self, run: ClaimedRun) -> RunState:
        """The state, read without writing. Raises LeaseLostError when the run is no longer this runner's."""
        with self._db.read() as connection:
            return held(connection, run.id, run.fence, lock=False).state

    def move(
        self,
        run: ClaimedRun,
        from_states: Collection[RunState],
        to: RunState,
        *,
        reason: str = "",
        summary: RunSummary | None = None,
    ) -> Run:
        """Moves a run this runner owns. Raises LeaseLostError when it does not own it any more, ConflictError naming
        both states when the run is in none of `from_states` or the move is unlawful."""
        with self._db.write() as connection:
            row = held(connection, run.id, run.fence)
            if row.state not in from_states:
                raise ConflictError(f"run {run.id} is {row.state}, so it does not move to {to}")
            values: dict[str, Any] = {} if summary is None else {"summary": summary.model_dump(mode="json")}
            values |= {} if to in ACTIVE else _NO_LEASE
            if to == _S.SUCCEEDED and summary is not None:
                run_succeeded(connection, row.tenant, run.id, summary.manifest, run.request.dataset)
            row = transition(connection, row, to, reason, **values)
        return _run(row)

    def fail(self, run: ClaimedRun, fault: RunFault) -> Run:
        """The run stops here with its reason; one that was being cancelled is cancelled. Raises LeaseLostError."""
        with self._db.write() as connection:
            row = held(connection, run.id, run.fence)
            to = _S.CANCELLED if row.state == _S.CANCELLING else _S.FAILED
            row = transition(connection, row, to, fault.message, error=fault.model_dump(), **_NO_LEASE)
        return _run(row)

    def release(self, run: ClaimedRun, reason: str, *, pause: bool = False, again_in_s: float | None = None) -> Run:
        """Gives the run back after its work has stopped: cancelling becomes cancelled, pausing becomes paused, any
        other goes back to the queue with the attempt it has (or, with `pause`, is paused where that is lawful).
        With `again_in_s` the attempt failed in passing: the next one counts anew and starts no sooner than that.

        Raises LeaseLostError.
        """
        with self._db.write() as connection:
            row = held(connection, run.id, run.fence)
            if pause and row.state in (_S.VALIDATING, _S.RUNNING):
                row = transition(connection, row, _S.PAUSING, reason)
            to = {_S.CANCELLING: _S.CANCELLED, _S.PAUSING: _S.PAUSED}.get(row.state, _S.QUEUED)
            values = dict(_NO_LEASE)
            if again_in_s is not None and to == _S.QUEUED:
                values |= {"attempt": row.attempt + 1, "not_before": now() + again_in_s}
            row = transition(connection, row, to, reason, **values)
        return _run(row)

    def reap(self, max_attempts: int, *, is_dead: Callable[[str], bool] | None = None) -> list[Run]:
        """Takes runs away from owners whose lease ran out (or that `is_dead` says are gone): cancelling ones become
        cancelled, pausing ones paused, others lost and then queued again with the next attempt, or failed after
        `max_attempts`. Their fence moves on, so the old owner can commit nothing more. Any runner may call this."""
        with self._db.read() as connection:
            query = sa.select(runs.c.id, runs.c.lease_owner, (runs.c.lease_until < now()).label("expired"))
            found = connection.execute(query.where(runs.c.state.in_(sorted(ACTIVE)))).all()
        reaped = []
        for run_id, owner, expired in found:
            if expired or (is_dead is not None and is_dead(owner)):
                row = self._reap_one(run_id, owner, expired=expired, attempts=max_attempts)
                reaped += [_run(row)] if row is not None else []
        return reaped

    def _reap_one(self, run_id: str, owner: str, *, expired: bool, attempts: int) -> Row | None:
        """One run a transaction (see `emit`); looks again under the lock, as the owner may have come back."""
        with self._db.write() as connection:
            row = locked(connection, run_id)
            if row.state not in ACTIVE or row.lease_owner != owner or (expired and not _expired(connection, row)):
                return None
            return _let_go(connection, row, attempts=attempts)


def _create(connection: sa.Connection, tenant: str, request: RunRequest, priority: int, run_id: str | None) -> Row:
    stored = request.model_dump(mode="json")
    values = {
        "id": run_id or new_id("run"),
        "tenant": tenant,
        "state": _S.QUEUED,
        "priority": priority,
        "request": stored,
        "recipe_digest": sha256_hex(canonical_json(stored["recipe"])),
        "attempt": 1,
        "fence": 0,
        "progress": Progress().model_dump(mode="json"),
        "version": 1,
        "created_at": now(),
        "updated_at": now(),
    }
    inserted = insert_new(connection, runs, **values)
    row = locked(connection, str(values["id"]), tenant=tenant)
    if inserted:
        first_history(connection, row)
    return row


def _busy(most: int) -> sa.Select[Any]:
    """Tenants of whom so many runs are being worked on, or as many as their quota says."""
    own = sa.func.coalesce(tenants.c.quota["running_runs"].as_integer(), most)
    working = sa.select(sa.func.count()).where(runs.c.tenant == tenants.c.id, runs.c.state.in_(sorted(ACTIVE)))
    return sa.select(tenants.c.id).where(working.scalar_subquery() >= own)


def _take(connection: sa.Connection, row: Row, owner: str, lease_s: float) -> ClaimedRun:
    lease = {"lease_owner": owner, "lease_until": now() + lease_s, "heartbeat_at": now(), "not_before": None}
    row = transition(connection, row, _S.VALIDATING, "claimed by a runner", fence=row.fence + 1, **lease)
    kept = {name: getattr(row, name) for name in ("id", "tenant", "recipe_digest", "attempt", "fence")}
    return ClaimedRun(request=RunRequest.model_validate(row.request), owner=owner, **kept)


def _requeue(connection: sa.Connection, row: Row, reason: str) -> Row:
    if row.state == _S.FAILED and not row.error["resumable"]:
        raise ConflictError(
            f"run {row.id} failed in a way that going on cannot mend ({row.error['message']}); "
            "submit a corrected request, or retry it from the start once the cause is gone"
        )
    if row.state not in (_S.PAUSED, _S.FAILED):
        raise ConflictError(f"run {row.id} is {row.state}, only a paused or failed run is resumed; nothing was changed")
    attempt = row.attempt + 1 if row.state == _S.FAILED else row.attempt
    return transition(connection, row, _S.QUEUED, reason, attempt=attempt, error=None)


def _let_go(connection: sa.Connection, row: Row, *, attempts: int | None) -> Row:
    """Takes an active run away from its owner; the fence moves first."""
    why, values = "its runner's lease ran out", {**_NO_LEASE, "fence": row.fence + 1}
    if row.state in (_S.CANCELLING, _S.PAUSING):
        to = _S.CANCELLED if row.state == _S.CANCELLING else _S.PAUSED
        return transition(connection, row, to, why, **values)
    row = transition(connection, row, _S.LOST, why, **values)
    if attempts is None or row.attempt < attempts:
        return transition(connection, row, _S.QUEUED, "next attempt", attempt=row.attempt + 1)
    message = f"{why} in attempt {row.attempt} of {attempts}; look for what kills the runner, then resume the run"
    fault = RunFault(code="lease_lost", message=message, resumable=True)
    return transition(connection, row, _S.FAILED, message, error=fault.model_dump())


def _expired(connection: sa.Connection, row: Row) -> bool:
    query = sa.select(runs.c.lease_until < now()).where(runs.c.id == row.id)
    return bool(connection.execute(query).scalar_one())


def _last(connection: sa.Connection, tenant: str) -> str:
    mine = sa.and_(runs.c.tenant == tenant, runs.c.deleted_at.is_(None))
    newest = sa.select(runs.c.id).where(mine).order_by(runs.c.id.desc()).limit(1)
    run_id = connection.execute(newest).scalar()
    if run_id is None:
        raise NotFoundError("there is no run to resume here yet; check --root or start one")
    return str(run_id)


def _unreadable(row: Row) -> RunFault | None:
    try:
        RunRequest.model_validate(row.request)
    except ValidationError as error:
        message = f"the stored request of run {row.id} cannot be read by this version: {error}; submit it again"
        return RunFault(code="bad_request", message=message, resumable=False)
    return None


def _run(row: Any) -> Run:
    return Run.model_validate({name: row[name] for name in Run.model_fields})


def _unknown(run_id: str) -> NotFoundError:
    return NotFoundError(f"there is no run {run_id!r}; check the id and the credential")

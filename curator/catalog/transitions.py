"""The one road from state to state: lawful, fenced, written down in the history and told to the outbox.

Knows nothing of who asks; `runs.py` holds the reasons for a move, this file only lets it happen whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from curator.catalog.database import now
from curator.catalog.events import emit
from curator.catalog.schema import run_history, runs
from curator.errors import ConflictError, LeaseLostError, NotFoundError
from curator.run import LAWFUL_MOVES, RunState

__all__ = ["ACTIVE", "Row", "first_history", "held", "locked", "transition"]

_S = RunState
ACTIVE: Final = frozenset({_S.VALIDATING, _S.RUNNING, _S.FINALIZING, _S.PAUSING, _S.CANCELLING})
"""States in which a runner holds the lease; in all others the run has no owner."""


class Row(Mapping[str, Any]):
    """A row of `runs` as read under the lock; columns are attributes, and it iterates like a mapping."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = {**values, "state": RunState(values["state"])}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def locked(
    connection: sa.Connection, run_id: str, *, tenant: str | None = None, version: int | None = None, lock: bool = True
) -> Row:
    """The row, locked until the transaction ends. Raises NotFoundError (another tenant's run too); ConflictError if
    `version` is not the present one."""
    query = sa.select(runs).where(runs.c.id == run_id)
    if tenant is not None:
        query = query.where(runs.c.tenant == tenant, runs.c.deleted_at.is_(None))
    found = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if found is None:
        raise NotFoundError(f"there is no run {run_id!r}; check the id and the credential")
    if version is not None and found["version"] != version:
        raise ConflictError(
            f"run {run_id} is at version {found['version']}, the request was made for {version}; read it again first"
        )
    return Row(dict(found))


def held(connection: sa.Connection, run_id: str, fence: int, *, lock: bool = True) -> Row:
    """The row of a run that its runner still owns. Raises LeaseLostError when the fence has moved on or nobody is
    meant to work on the run any more."""
    row = locked(connection, run_id, lock=lock)
    if row.fence != fence or row.state not in ACTIVE:
        raise LeaseLostError(
            f"run {run_id} is {row.state} with fence {row.fence}, this runner held fence {fence}; "
            "its work is void and another attempt goes on from what was committed"
        )
    return row


def transition(connection: sa.Connection, row: Row, to: RunState, reason: str, **values: Any) -> Row:
    """Moves a locked row, writes the history line and the event, and returns the new row.

    Raises ConflictError naming both states for an unlawful move, LeaseLostError if the row changed under the lock
    (which the lock forbids; the check costs nothing and holds on any database).
    """
    if to not in LAWFUL_MOVES[row.state]:
        raise ConflictError(f"run {row.id} is {row.state} and cannot move to {to}; nothing was changed")
    guard = sa.and_(runs.c.id == row.id, runs.c.state == row.state, runs.c.fence == row.fence)
    update = sa.update(runs).where(guard).values(state=to, version=row.version + 1, updated_at=now(), **values)
    if connection.execute(update).rowcount != 1:
        raise LeaseLostError(f"run {row.id} left {row.state} with fence {row.fence} meanwhile; nothing was changed")
    after = locked(connection, row.id)
    _record(connection, after, row.state, row.lease_owner or after.lease_owner, reason)
    return after


def first_history(connection: sa.Connection, row: Row) -> None:
    """The line and the event of a run's birth."""
    _record(connection, row, None, None, "created")


def _record(connection: sa.Connection, row: Row, before: RunState | None, owner: str | None, reason: str) -> None:
    line = {"from_state": before, "to_state": row.state, "attempt": row.attempt, "fence": row.fence}
    connection.execute(sa.insert(run_history).values(run=row.id, owner=owner, reason=reason, at=now(), **line))
    data = {**line, "version": row.version, "reason": reason, "error": row.error, "summary": row.summary}
    emit(connection, row.tenant, "run.state", row.id, data)

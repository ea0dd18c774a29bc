"""The outbox: what happened, numbered in the order it became visible, so that a listener who comes back misses nothing.

Knows nothing of SSE or of who listens. An event is written in the transaction of the change it tells of.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, hold_event_order, now
from curator.catalog.paging import checked_limit
from curator.catalog.schema import events

__all__ = ["KINDS", "PROGRESS", "Event", "EventKind", "Events", "emit"]

EventKind = Literal[
    "run.state",
    "run.progress",
    "run.deleted",
    "job.state",
    "export.state",
    "rewrite.state",
    "review.opened",
    "manifest.moved",
    "policy.learned",
    "policy.moved",
]
"""All that is told of: what `emit` takes is what webhooks may ask for."""

KINDS: Final[tuple[EventKind, ...]] = get_args(EventKind)
PROGRESS: Final = "run.progress"


class Event(BaseModel):
    """One line of the outbox. `sequence` is the SSE event id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    tenant: str
    kind: str
    subject: str
    data: dict[str, Any]
    at: dt.datetime


class Events:
    """Reading the outbox."""

    def __init__(self, database: Database):
        self._db = database

    def after(self, tenant: str, sequence: int, *, subject: str | None = None, limit: int = 100) -> list[Event]:
        """Events numbered above `sequence`, oldest first, all of the tenant's or those of one subject (a run's id)."""
        query = (
            sa.select(events)
            .where(events.c.tenant == tenant, events.c.sequence > sequence)
            .order_by(events.c.sequence)
            .limit(checked_limit(limit))
        )
        if subject is not None:
            query = query.where(events.c.subject == subject)
        with self._db.read() as connection:
            return [Event(**row) for row in connection.execute(query).mappings()]

    def latest(self, tenant: str, *, subject: str | None = None) -> int:
        """The newest sequence number, 0 if there is none: where a listener without `Last-Event-ID` starts."""
        query = sa.select(sa.func.max(events.c.sequence)).where(events.c.tenant == tenant)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        with self._db.read() as connection:
            return connection.execute(query).scalar() or 0

    def newest(self) -> int:
        """The newest sequence number of all tenants, 0 if there is none."""
        with self._db.read() as connection:
            return connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0

    def moved(self, sequence: int) -> dict[str, int]:
        """Subjects of all tenants with events numbered above `sequence`, and each one's newest number."""
        query = sa.select(events.c.subject, sa.func.max(events.c.sequence)).where(events.c.sequence > sequence)
        with self._db.read() as connection:
            return {subject: newest for subject, newest in connection.execute(query.group_by(events.c.subject))}

    def prune(self, older_than_s: float) -> int:
        """Forgets events older than this many seconds (each run's newest state stays in its row and its history)."""
        with self._db.write() as connection:
            return connection.execute(sa.delete(events).where(events.c.at < now() - older_than_s)).rowcount


def emit(connection: sa.Connection, tenant: str, kind: EventKind, subject: str, data: dict[str, Any]) -> None:
    """Writes an event. Call it last in the transaction, which must touch one subject only: it takes the lock on the
    order of events, and a transaction that then waited for a row could wait for ever.

    A run's progress replaces its earlier progress: the outbox holds one such event a run, not one a second."""
    hold_event_order(connection)
    if kind == PROGRESS:
        connection.execute(sa.delete(events).where(events.c.subject == subject, events.c.kind == PROGRESS))
    connection.execute(
        sa.insert(events).values(tenant=tenant, kind=kind, subject=subject, data=data, at=now()),
    )

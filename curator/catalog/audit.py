"""The audit log: who changed what, or was refused to, when, under which request. Lines are added, never changed.

Knows nothing of routes; whoever answers a request writes its line before the answer goes out.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, now
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema_watch import audit_log

__all__ = ["Audit", "AuditLine"]


class AuditLine(BaseModel):
    """`actor`: a key's id, `local`, `oidc:` and a subject, or `operator` at the command line. `action`: method and
    address template. `subject`: the address, and that of what was made; texts and bodies are never kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    actor: str
    action: str
    subject: str
    status: int
    request_id: str
    at: dt.datetime


class Audit:
    def __init__(self, database: Database):
        self._db = database

    def record(self, tenant: str, *, actor: str, action: str, subject: str, status: int, request_id: str) -> None:
        """Adds a line."""
        values = {"actor": actor, "action": action, "subject": subject, "status": status, "request_id": request_id}
        with self._db.write() as connection:
            connection.execute(sa.insert(audit_log).values(tenant=tenant, at=now(), **values))

    def page(
        self, tenant: str, *, actor: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditLine]:
        """The tenant's lines, newest first; those of one actor if one is named."""
        query = sa.select(*[audit_log.c[name] for name in AuditLine.model_fields]).where(audit_log.c.tenant == tenant)
        if actor is not None:
            query = query.where(audit_log.c.actor == actor)
        if cursor is not None:
            query = query.where(audit_log.c.number < decode_cursor(cursor, [int])[0])
        query = query.order_by(audit_log.c.number.desc()).limit(checked_limit(limit) + 1)
        with self._db.read() as connection:
            found = [AuditLine(**row) for row in connection.execute(query).mappings()]
        return page_of(found, limit, lambda line: (line.number,))

    def prune(self, older_than_s: float) -> int:
        """Forgets lines older than this many seconds."""
        with self._db.write() as connection:
            return connection.execute(sa.delete(audit_log).where(audit_log.c.at < now() - older_than_s)).rowcount

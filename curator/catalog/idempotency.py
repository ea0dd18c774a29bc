"""Idempotency keys: a creating request sent twice creates once and is answered the same both times.

Knows nothing of HTTP but the number it is told to keep. A key reserves the id of the thing to be made, so that even
a server killed between making and answering makes nothing twice.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.schema import idempotency_keys
from curator.errors import ConflictError

__all__ = ["Idempotency", "Replay", "Started"]

KEPT_S: Final = 24 * 3600.0
"""A finished answer is replayed for a day (the span Stripe's API gives a key)."""


class Started(BaseModel):
    """Go on: make the thing under this id, then `finish`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resource: str


class Replay(BaseModel):
    """It was made before; give the first answer again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resource: str
    status: int
    response: dict[str, Any]


class Idempotency:
    def __init__(self, database: Database):
        self._db = database

    def begin(
        self, tenant: str, key: str, request_digest: str, *, prefix: str, in_flight_s: float = 60.0
    ) -> Started | Replay:
        """Opens a key. A first request, or one whose server died at least `in_flight_s` ago, is `Started`; a finished
        one is `Replay`.

        Raises ConflictError with code `idempotency_mismatch` (other request under this key: HTTP 422) or
        `idempotency_in_flight` (the first is still being answered: HTTP 409).
        """
        values = {"tenant": tenant, "key": key, "request_digest": request_digest, "resource": new_id(prefix)}
        with self._db.write() as connection:
            mine = _mine(tenant, key)
            old = sa.and_(mine, idempotency_keys.c.finished_at < now() - KEPT_S)
            connection.execute(sa.delete(idempotency_keys).where(old))
            if insert_new(connection, idempotency_keys, **values, started_at=now()):
                return Started(resource=values["resource"])
            stale = (idempotency_keys.c.started_at < now() - in_flight_s).label("stale")
            query = sa.select(idempotency_keys, stale).where(mine).with_for_update()
            row = connection.execute(query).mappings().one()
            if row["request_digest"] != request_digest:
                raise _conflict("mismatch", f"Idempotency-Key {key!r} was used for another request; take a new key")
            if row["finished_at"] is not None:
                return Replay(resource=row["resource"], status=row["status"], response=row["response"])
            if not row["stale"]:
                raise _conflict("in_flight", f"the request under Idempotency-Key {key!r} is still being answered")
            connection.execute(sa.update(idempotency_keys).where(mine).values(started_at=now()))
            return Started(resource=row["resource"])

    def finish(self, tenant: str, key: str, status: int, response: dict[str, Any]) -> None:
        """Keeps the answer. The first one stays."""
        open_ = sa.and_(_mine(tenant, key), idempotency_keys.c.finished_at.is_(None))
        with self._db.write() as connection:
            answer = {"status": status, "response": response, "finished_at": now()}
            connection.execute(sa.update(idempotency_keys).where(open_).values(**answer))

    def abandon(self, tenant: str, key: str) -> None:
        """The request was refused before anything was made: the key may be used again."""
        open_ = sa.and_(_mine(tenant, key), idempotency_keys.c.finished_at.is_(None))
        with self._db.write() as connection:
            connection.execute(sa.delete(idempotency_keys).where(open_))

    def prune(self) -> int:
        """Forgets keys finished more than a day ago, and those never finished."""
        with self._db.write() as connection:
            old = idempotency_keys.c.started_at < now() - KEPT_S
            return connection.execute(sa.delete(idempotency_keys).where(old)).rowcount


def _mine(tenant: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(idempotency_keys.c.tenant == tenant, idempotency_keys.c.key == key)


def _conflict(kind: str, message: str) -> ConflictError:
    error = ConflictError(message)
    error.code = f"idempotency_{kind}"
    return error

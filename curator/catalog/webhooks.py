"""Webhooks: who outside is told of a tenant's events, and the deliveries still owed.

Knows the outbox and the clock; nothing of HTTP. Each webhook remembers the last event it was owed a delivery for, so an
event is owed exactly once, also over restarts; a delivery is tried until it is taken or its attempts are used up.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
import secrets
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.events import PROGRESS
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import events
from curator.catalog.schema_watch import webhook_deliveries, webhooks
from curator.errors import IntegrityError, NotFoundError, RequestError
from curator.sealing import Seal

__all__ = ["Delivery", "DeliveryState", "DueDelivery", "Webhook", "Webhooks"]

log: Final = logging.getLogger(__name__)
MOST_OF_A_TENANT: Final = 20
MAX_ATTEMPTS: Final = 12
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 3600.0
"""Doubling from the first: the twelfth attempt is about six hours after the event."""
_HELD_S: Final = 60.0
_FANNED_OUT: Final = 200


class DeliveryState(StrEnum):
    OWED = "owed"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Webhook(BaseModel):
    """`kinds`: the events told of, all of them if none is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    url: str
    kinds: tuple[str, ...]
    created_at: dt.datetime


class Delivery(BaseModel):
    """`status`: the receiver's last answer, None if there was none; `error` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    id: str
    webhook: str
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    created_at: dt.datetime


class DueDelivery(BaseModel):
    """A delivery that is this process's to send for a minute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    url: str
    secret: str
    body: dict[str, Any]
    attempts: int


_COLUMNS: Final = [webhooks.c[name] for name in Webhook.model_fields]
_DELIVERY: Final = [webhook_deliveries.c[name] for name in Delivery.model_fields]


class Webhooks:
    def __init__(self, database: Database):
        self._db = database
        self._seal: Seal | None = None

    def sealed_with(self, seal: Seal) -> None:
        """Keeps secrets under this seal from now on, those that an earlier version kept readable too; says in the log
        which were sealed with another."""
        self._seal = seal
        query = sa.select(webhooks.c.id, webhooks.c.secret)
        with self._db.read() as connection:
            found = connection.execute(query).all()
        for row in found:
            if Seal.is_closed(row.secret):
                try:
                    seal.open(row.id, row.secret)
                except IntegrityError as error:
                    log.warning("%s", error)
                continue
            with self._db.write() as connection:
                mine = sa.and_(webhooks.c.id == row.id, webhooks.c.secret == row.secret)
                connection.execute(sa.update(webhooks).where(mine).values(secret=seal.close(row.id, row.secret)))

    def _sealing(self) -> Seal:
        if self._seal is None:
            raise RequestError("secrets of webhooks are kept under a seal, and this process has none")
        return self._seal

    def create(
        self, tenant: str, url: str, kinds: Sequence[str], *, webhook_id: str | None = None
    ) -> tuple[Webhook, str]:
        """A webhook for events from now on, and the secret it signs with; made again under one `webhook_id` it is the
        same. Raises RequestError for one too many."""
        seal, webhook_id = self._sealing(), webhook_id or new_id("whk")
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        with self._db.write() as connection:
            others = sa.and_(webhooks.c.tenant == tenant, webhooks.c.id != webhook_id)
            count = sa.select(sa.func.count()).select_from(webhooks).where(others)
            if connection.execute(count).scalar_one() >= MOST_OF_A_TENANT:
                raise RequestError(f"a tenant has at most {MOST_OF_A_TENANT} webhooks; delete one first")
            newest = sa.select(sa.func.coalesce(sa.func.max(events.c.sequence), 0))
            values = {
                "id": webhook_id,
                "tenant": tenant,
                "url": url,
                "kinds": list(kinds),
                "secret": seal.close(webhook_id, secret),
                "told": connection.execute(newest).scalar_one(),
            }
            insert_new(connection, webhooks, created_at=now(), **values)
            made = sa.select(*_COLUMNS, webhooks.c.secret).filter_by(id=values["id"], tenant=tenant)
            row = dict(connection.execute(made).mappings().one())
        kept = str(row.pop("secret"))
        return Webhook(**row), seal.open(webhook_id, kept)

    def get(self, tenant: str, webhook_id: str) -> Webhook:
        """Raises NotFoundError."""
        query = sa.select(*_COLUMNS).where(webhooks.c.tenant == tenant, webhooks.c.id == webhook_id)
        with self._db.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no webhook {webhook_id!r}; check the id and the credential")
        return Webhook(**row)

    def of_tenant(self, tenant: str) -> list[Webhook]:
        """All of a tenant's, oldest first."""
        query = sa.select(*_COLUMNS).where(webhooks.c.tenant == tenant).order_by(webhooks.c.id)
        with self._db.read() as connection:
            return [Webhook(**row) for row in connection.execute(query).mappings()]

    def delete(self, tenant: str, webhook_id: str) -> None:
        """It is told nothing more, and what it was owed is forgotten. Raises NotFoundError."""
        self.get(tenant, webhook_id)
        with self._db.write() as connection:
            connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.webhook == webhook_id))
            connection.execute(sa.delete(webhooks).where(webhooks.c.id == webhook_id))

    def deliveries(
        self, tenant: str, webhook_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Delivery]:
        """What was and is owed to one webhook, newest first. Raises NotFoundError."""
        self.get(tenant, webhook_id)
        query = sa.select(*_DELIVERY).where(webhook_deliveries.c.webhook == webhook_id)
        if cursor is not None:
            query = query.where(webhook_deliveries.c.number < decode_cursor(cursor, [int])[0])
        query = query.order_by(webhook_deliveries.c.number.desc()).limit(checked_limit(limit) + 1)
        with self._db.read() as connection:
            found = [Delivery(**row) for row in connection.execute(query).mappings()]
        return page_of(found, limit, lambda delivery: (delivery.number,))

    def owe(self) -> int:
        """Turns events into deliveries, for every webhook those it has not been owed yet; says how many. Two processes
        at it take turns over each webhook."""
        with self._db.read() as connection:
            ids = connection.execute(sa.select(webhooks.c.id)).scalars().all()
        return sum(self._owe(webhook_id) for webhook_id in ids)

    def _owe(self, webhook_id: str) -> int:
        with self._db.write() as connection:
            hook = connection.execute(sa.select(webhooks).where(webhooks.c.id == webhook_id).with_for_update()).first()
            if hook is None:
                return 0
            fresh = sa.select(events).where(events.c.tenant == hook.tenant, events.c.sequence > hook.told)
            found = connection.execute(fresh.order_by(events.c.sequence).limit(_FANNED_OUT)).all()
            owed = [event for event in found if _wanted(event.kind, hook.kinds)]
            for event in owed:
                connection.execute(sa.insert(webhook_deliveries).values(**_delivery(hook.id, event)))
            if found:
                told = sa.update(webhooks).where(webhooks.c.id == webhook_id).values(told=found[-1].sequence)
                connection.execute(told)
            return len(owed)

    def due(self, limit: int = 20) -> list[DueDelivery]:
        """Deliveries whose time has come, held for a minute: nobody else gets them, and should this process die they
        come due again. One whose secret this seal does not open has failed that attempt."""
        table, seal = webhook_deliveries, self._sealing()
        ripe = sa.select(table.c.id).where(table.c.state == DeliveryState.OWED, table.c.next_at <= now())
        ripe = ripe.order_by(table.c.next_at).limit(limit).with_for_update(skip_locked=True)
        with self._db.write() as connection:
            ids = connection.execute(ripe).scalars().all()
            held = sa.update(table).where(table.c.id.in_(ids)).values(next_at=now() + _HELD_S)
            connection.execute(held.values(attempts=table.c.attempts + 1))
            joined = sa.select(
                table.c.id, table.c.body, table.c.attempts, webhooks.c.url, webhooks.c.secret, table.c.webhook
            )
            joined = joined.join(webhooks, webhooks.c.id == table.c.webhook).where(table.c.id.in_(ids))
            rows = [dict(row) for row in connection.execute(joined).mappings()]
        return [opened for row in rows if (opened := self._opened(seal, row)) is not None]

    def _opened(self, seal: Seal, row: dict[str, Any]) -> DueDelivery | None:
        webhook, kept = row.pop("webhook"), row.pop("secret")
        try:
            return DueDelivery(**row, secret=seal.open(webhook, kept))
        except IntegrityError as error:
            self.settle(DueDelivery(**row, secret=""), status=None, error=str(error))
            return None

    def settle(self, delivery: DueDelivery, *, status: int | None, error: str | None) -> DeliveryState:
        """Writes down an attempt: taken, tried again later, or given up after the last."""
        last = delivery.attempts >= MAX_ATTEMPTS
        state = DeliveryState.DELIVERED if error is None else DeliveryState.GIVEN_UP if last else DeliveryState.OWED
        values: dict[str, Any] = {"state": state, "status": status, "error": error}
        if state is DeliveryState.OWED:
            values["next_at"] = now() + min(FIRST_WAIT_S * 2.0 ** (delivery.attempts - 1), LONGEST_WAIT_S)
        with self._db.write() as connection:
            mine = webhook_deliveries.c.id == delivery.id
            connection.execute(sa.update(webhook_deliveries).where(mine).values(**values))
        return state

    def counts(self) -> dict[DeliveryState, int]:
        """Deliveries by state, of every tenant: for the service's own metrics."""
        query = sa.select(webhook_deliveries.c.state, sa.func.count()).group_by(webhook_deliveries.c.state)
        with self._db.read() as connection:
            found = {DeliveryState(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in DeliveryState}

    def prune(self, older_than_s: float) -> int:
        """Forgets settled deliveries older than this many seconds."""
        table = webhook_deliveries
        old = sa.and_(table.c.state != DeliveryState.OWED, table.c.created_at < now() - older_than_s)
        with self._db.write() as connection:
            return connection.execute(sa.delete(table).where(old)).rowcount


def _wanted(kind: str, kinds: Collection[str]) -> bool:
    """Progress is for those who watch; a webhook gets it only if it asks."""
    return kind in kinds if kinds else kind != PROGRESS


def _delivery(webhook_id: str, event: sa.Row[Any]) -> dict[str, Any]:
    at = event.at.isoformat().replace("+00:00", "Z")
    body = {"type": event.kind, "timestamp": at, "data": {"subject": event.subject, **event.data}}
    return {
        "id": new_id("dlv"),
        "webhook": webhook_id,
        "sequence": event.sequence,
        "body": body,
        "state": DeliveryState.OWED,
        "attempts": 0,
        "next_at": now(),
        "created_at": now(),
    }

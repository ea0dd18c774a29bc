"""Epoch plans in the catalog, and the ratios each of their epochs was given.

Knows nothing of curricula or permutations; a plan is JSON with a digest here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, hold_manifests, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.manifests import manifest_row
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import epoch_plans, plan_epochs
from curator.digest import content_id
from curator.errors import NotFoundError

__all__ = ["PlanEpoch", "PlanRow", "Plans", "plan_row"]


class PlanRow(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    manifest: str
    digest: str
    plan: dict[str, Any]
    created_at: dt.datetime


class PlanEpoch(BaseModel):
    """One epoch of an adaptive plan. `losses`: the mean loss of each difficulty its ratios follow from, null for the
    first epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    ratios: dict[str, float]
    losses: dict[str, float | None] | None
    created_at: dt.datetime


_EPOCH: Final = [plan_epochs.c[name] for name in PlanEpoch.model_fields]


class Plans:
    def __init__(self, database: Database):
        self._db = database

    def create(
        self,
        tenant: str,
        manifest: str,
        plan: Mapping[str, Any],
        *,
        digest: str | None = None,
        plan_id: str | None = None,
    ) -> PlanRow:
        """The plan's row; a tenant's equal plan (same digest, by default of the canonical JSON) is the same row.
        Raises NotFoundError for a manifest that is not there."""
        digest = digest or content_id("epd", dict(plan))
        values = {"id": plan_id or new_id("epl"), "tenant": tenant, "manifest": manifest, "digest": digest}
        query = sa.select(epoch_plans).where(epoch_plans.c.tenant == tenant, epoch_plans.c.digest == digest)
        with self._db.write() as connection:
            hold_manifests(connection)
            manifest_row(connection, tenant, manifest)
            insert_new(connection, epoch_plans, **values, plan=dict(plan), created_at=now())
            return PlanRow(**connection.execute(query).mappings().one())

    def get(self, tenant: str, plan_id: str) -> PlanRow:
        """By the row's id or by the digest, which is unique to a tenant. Raises NotFoundError."""
        with self._db.read() as connection:
            return plan_row(connection, tenant, plan_id)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[PlanRow]:
        """The tenant's plans, newest first."""
        query = sa.select(epoch_plans).where(epoch_plans.c.tenant == tenant).order_by(epoch_plans.c.id.desc())
        if cursor is not None:
            query = query.where(epoch_plans.c.id < decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [PlanRow(**row) for row in rows]
        return page_of(found, limit, lambda row: (row.id,))

    def decide(
        self,
        tenant: str,
        plan_id: str,
        epoch: int,
        ratios: Mapping[str, float],
        losses: Mapping[str, float | None] | None,
    ) -> PlanEpoch:
        """Writes an adaptive epoch's ratios down, and the report they follow from, before its first row is served.
        Returns the ones that hold: the first writer's. Raises NotFoundError."""
        told = None if losses is None else dict(losses)
        with self._db.write() as connection:
            plan = plan_row(connection, tenant, plan_id).id
            values = {"plan": plan, "epoch": epoch, "ratios": dict(ratios), "losses": told, "created_at": now()}
            insert_new(connection, plan_epochs, **values)
            query = sa.select(*_EPOCH).filter_by(plan=plan, epoch=epoch)
            return PlanEpoch(**connection.execute(query).mappings().one())

    def epochs(self, tenant: str, plan_id: str) -> list[PlanEpoch]:
        """The epochs decided so far, in order. Raises NotFoundError."""
        with self._db.read() as connection:
            plan = plan_row(connection, tenant, plan_id).id
            query = sa.select(*_EPOCH).filter_by(plan=plan).order_by(plan_epochs.c.epoch)
            return [PlanEpoch(**row) for row in connection.execute(query).mappings()]


def plan_row(connection: sa.Connection, tenant: str, plan_id: str) -> PlanRow:
    """The plan by its row's id or by its digest. Raises NotFoundError."""
    named = sa.or_(epoch_plans.c.id == plan_id, epoch_plans.c.digest == plan_id)
    query = sa.select(epoch_plans).where(epoch_plans.c.tenant == tenant, named)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no epoch plan {plan_id!r}; check the id and the credential")
    return PlanRow(**row)

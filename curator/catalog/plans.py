"""Epoch plans in the catalog, and the ratios each of their epochs was given.

Knows nothing of curricula or permutations; a plan is JSON with a digest here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import epoch_plans, plan_epochs
from curator.digest import content_id
from curator.errors import NotFoundError

__all__ = ["PlanRow", "Plans"]


class PlanRow(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    manifest: str
    digest: str
    plan: dict[str, Any]
    created_at: dt.datetime


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
        """The plan's row; a tenant's equal plan (same digest, by default of the canonical JSON) is the same row."""
        digest = digest or content_id("epd", dict(plan))
        values = {"id": plan_id or new_id("epl"), "tenant": tenant, "manifest": manifest, "digest": digest}
        query = sa.select(epoch_plans).where(epoch_plans.c.tenant == tenant, epoch_plans.c.digest == digest)
        with self._db.write() as connection:
            insert_new(connection, epoch_plans, **values, plan=dict(plan), created_at=now())
            return PlanRow(**connection.execute(query).mappings().one())

    def get(self, tenant: str, plan_id: str) -> PlanRow:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _plan(connection, tenant, plan_id)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[PlanRow]:
        """The tenant's plans, newest first."""
        query = sa.select(epoch_plans).where(epoch_plans.c.tenant == tenant).order_by(epoch_plans.c.id.desc())
        if cursor is not None:
            query = query.where(epoch_plans.c.id < decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [PlanRow(**row) for row in rows]
        return page_of(found, limit, lambda row: (row.id,))

    def fix_ratios(self, tenant: str, plan_id: str, epoch: int, ratios: Mapping[str, float]) -> dict[str, float]:
        """Writes an adaptive epoch's ratios down before its first row is served, and returns the ones that hold: the
        first writer's. Raises NotFoundError."""
        values = {"plan": plan_id, "epoch": epoch, "ratios": dict(ratios), "created_at": now()}
        with self._db.write() as connection:
            _plan(connection, tenant, plan_id)
            insert_new(connection, plan_epochs, **values)
            query = sa.select(plan_epochs.c.ratios).filter_by(plan=plan_id, epoch=epoch)
            return dict(connection.execute(query).scalar_one())

    def ratios(self, tenant: str, plan_id: str) -> dict[int, dict[str, float]]:
        """The journal of ratios by epoch. Raises NotFoundError."""
        query = sa.select(plan_epochs.c.epoch, plan_epochs.c.ratios).where(plan_epochs.c.plan == plan_id)
        with self._db.read() as connection:
            _plan(connection, tenant, plan_id)
            return {epoch: ratios for epoch, ratios in connection.execute(query.order_by(plan_epochs.c.epoch))}


def _plan(connection: sa.Connection, tenant: str, plan_id: str) -> PlanRow:
    query = sa.select(epoch_plans).where(epoch_plans.c.tenant == tenant, epoch_plans.c.id == plan_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no epoch plan {plan_id!r}; check the id and the credential")
    return PlanRow(**row)

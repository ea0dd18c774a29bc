"""What a tenant may take: set by whoever runs the server, the server's own default where nothing is set.

Knows limits and how much is used; who refuses, and with which words, is the caller's affair.
"""

from __future__ import annotations

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from curator.catalog.database import Database
from curator.catalog.purging import Purging
from curator.catalog.schema import datasets, runs, tenants
from curator.catalog.transitions import ACTIVE
from curator.errors import NotFoundError

__all__ = ["Quota", "Quotas", "Use"]


class Quota(BaseModel):
    """None: the server's default, where it has one; else no limit. Bytes stored: uploads, shards and exports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_bytes: int | None = Field(default=None, ge=0)
    upload_bytes: int | None = Field(default=None, ge=0)
    datasets: int | None = Field(default=None, ge=0)
    running_runs: int | None = Field(default=None, ge=0)
    requests_per_s: int | None = Field(default=None, ge=1)
    event_streams: int | None = Field(default=None, ge=0)


class Use(BaseModel):
    """How much of it is taken now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_bytes: int
    upload_bytes: int
    datasets: int
    running_runs: int


class Quotas:
    def __init__(self, database: Database):
        self._db, self._purging = database, Purging(database)

    def get(self, tenant: str) -> Quota:
        """Raises NotFoundError for no tenant."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(tenants.c.quota).where(tenants.c.id == tenant)).first()
        if row is None:
            raise NotFoundError(f"there is no tenant {tenant!r}")
        return Quota.model_validate(row.quota or {})

    def set(self, tenant: str, quota: Quota) -> None:
        """In place of what was set before. Raises NotFoundError for no tenant."""
        stored = quota.model_dump(exclude_none=True) or None
        with self._db.write() as connection:
            changed = connection.execute(sa.update(tenants).where(tenants.c.id == tenant).values(quota=stored))
            if changed.rowcount != 1:
                raise NotFoundError(f"there is no tenant {tenant!r}")

    def use(self, tenant: str) -> Use:
        """Counted from the catalog."""
        sizes = self._purging.sizes(tenant)
        mine = sa.and_(datasets.c.tenant == tenant, datasets.c.deleted_at.is_(None))
        busy = sa.and_(runs.c.tenant == tenant, runs.c.state.in_(sorted(ACTIVE)))
        with self._db.read() as connection:
            return Use(
                stored_bytes=sum(size for _, size in sizes.values()),
                upload_bytes=sizes["uploads"][1],
                datasets=int(connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()),
                running_runs=int(connection.execute(sa.select(sa.func.count()).where(busy)).scalar_one()),
            )

"""What a tenant may take: set by whoever runs the server, the server's own default where nothing is set.

Knows limits and how much is used. Whoever adds something asks `require_room` in the transaction that adds it, so that
two requests never both take the last room.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from curator.catalog.database import Database
from curator.catalog.schema import datasets, manifest_shards, runs, tenants, uploads
from curator.catalog.schema_exports import exports
from curator.catalog.transitions import ACTIVE
from curator.errors import NotFoundError, QuotaError, SpaceQuotaError

__all__ = ["NO_LIMITS", "Quota", "Quotas", "Use", "require_room"]


class Quota(BaseModel):
    """None: the server's default, where it has one; else no limit. Bytes stored: uploads, shards and exports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_bytes: int | None = Field(default=None, ge=0)
    upload_bytes: int | None = Field(default=None, ge=0)
    datasets: int | None = Field(default=None, ge=0)
    running_runs: int | None = Field(default=None, ge=0)
    requests_per_s: int | None = Field(default=None, ge=1)
    event_streams: int | None = Field(default=None, ge=0)


NO_LIMITS: Final = Quota()


class Use(BaseModel):
    """How much of it is taken now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_bytes: int
    upload_bytes: int
    datasets: int
    running_runs: int


class Quotas:
    def __init__(self, database: Database):
        self._db = database

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
        with self._db.read() as connection:
            return _use(connection, tenant)

    def sizes(self, tenant: str | None = None) -> dict[str, tuple[int, int]]:
        """(count, bytes) of a tenant's uploads, shards and exports, or of everybody's."""
        with self._db.read() as connection:
            return _sizes(connection, tenant)

    def require_some_room(self, tenant: str, quota: Quota, *, uploads: bool) -> None:
        """Room for one byte at least, of uploads too: for what will be known later. Raises SpaceQuotaError."""
        with self._db.read() as connection:
            _require(_use(connection, tenant), quota, stored_bytes=1, upload_bytes=int(uploads), datasets=0)


def require_room(
    connection: sa.Connection, tenant: str, quota: Quota, *, upload_bytes: int = 0, datasets: int = 0
) -> None:
    """That what this transaction has just added does not go beyond the quota; uploads count as stored bytes too. The
    tenant's other requests for room wait until the transaction ends.

    Raises SpaceQuotaError for bytes, QuotaError for datasets; the caller lets the transaction fail.
    """
    connection.execute(sa.select(tenants.c.id).where(tenants.c.id == tenant).with_for_update(key_share=True))
    use = _use(connection, tenant)
    before = use.model_copy(
        update={
            "stored_bytes": use.stored_bytes - upload_bytes,
            "upload_bytes": use.upload_bytes - upload_bytes,
            "datasets": use.datasets - datasets,
        }
    )
    _require(before, quota, stored_bytes=upload_bytes, upload_bytes=upload_bytes, datasets=datasets)


def _require(use: Use, quota: Quota, *, stored_bytes: int, upload_bytes: int, datasets: int) -> None:
    for name, asked, what_to_do in (
        ("upload_bytes", upload_bytes, "delete uploads no longer needed"),
        (
            "stored_bytes",
            stored_bytes,
            "delete runs, uploads and exports no longer needed (GET /v1/storage tells where the bytes are)",
        ),
    ):
        most, used = getattr(quota, name), getattr(use, name)
        if asked and most is not None and used + asked > most:
            raise SpaceQuotaError(
                f"quota {name}: {used} of {most} bytes are in use and {asked} more do not fit; {what_to_do}, "
                "or ask for more"
            )
    if datasets and quota.datasets is not None and use.datasets + datasets > quota.datasets:
        raise QuotaError(
            f"quota datasets: {use.datasets} of {quota.datasets} are registered; delete one that is no longer needed, "
            "or ask for more"
        )


def _use(connection: sa.Connection, tenant: str) -> Use:
    sizes = _sizes(connection, tenant)
    mine = sa.and_(datasets.c.tenant == tenant, datasets.c.deleted_at.is_(None))
    busy = sa.and_(runs.c.tenant == tenant, runs.c.state.in_(sorted(ACTIVE)))
    return Use(
        stored_bytes=sum(size for _, size in sizes.values()),
        upload_bytes=sizes["uploads"][1],
        datasets=int(connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()),
        running_runs=int(connection.execute(sa.select(sa.func.count()).where(busy)).scalar_one()),
    )


def _sizes(connection: sa.Connection, tenant: str | None) -> dict[str, tuple[int, int]]:
    def counted(table: sa.Table, size: sa.Column[int], *live: sa.ColumnElement[bool]) -> tuple[int, int]:
        total = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(size), 0))
        count, taken = connection.execute(total.where(*_of(table, tenant), *live)).one()
        return int(count), int(taken)

    written = sa.select(exports.c.result).where(*_of(exports, tenant), exports.c.result.is_not(None))
    results = connection.execute(written).scalars().all()
    return {
        "uploads": counted(uploads, uploads.c.size_bytes, uploads.c.state != "deleted"),
        "shards": counted(manifest_shards, manifest_shards.c.bytes),
        "exports": (len(results), sum(file["bytes"] for each in results for file in each["files"])),
    }


def _of(table: sa.Table, tenant: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if tenant is None else [table.c.tenant == tenant]

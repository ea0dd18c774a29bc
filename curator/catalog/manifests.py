"""Manifests in the catalog: which run made them, which came before, which shards they let a tenant read.

Knows nothing of a manifest's content; that is a JSON file in the store, named by its own digest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, hold_manifests, ignoring, insert_new, now
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import manifest_shards, manifests, runs
from curator.errors import NotFoundError

__all__ = ["ManifestRow", "Manifests", "ShardPlace", "manifest_row"]

_ROWS_A_STATEMENT: Final = 1000


class ManifestRow(BaseModel):
    """A manifest as the catalog knows it; `path` is its JSON file, relative to the store's root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str
    id: str
    run: str | None
    parent: str | None
    path: str
    created_at: dt.datetime


_COLUMNS: Final = [manifests.c[name] for name in ManifestRow.model_fields]


class ShardPlace(BaseModel):
    """Where a shard lies: `path` relative to the store's root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    path: str
    bytes: int


class Manifests:
    def __init__(self, database: Database):
        self._db = database

    def record(
        self,
        tenant: str,
        manifest_id: str,
        *,
        path: str,
        shards: Sequence[ShardPlace],
        run: str | None = None,
        parent: str | None = None,
    ) -> ManifestRow:
        """Makes a manifest and its shards known. Equal content has an equal id, so a second time (another run, a
        resumed one) changes nothing and the first run stays its maker. Raises NotFoundError for a `parent` that is not
        there, or a `run` that was deleted: what comes of them would belong to nothing."""
        row = {"tenant": tenant, "id": manifest_id, "run": run, "parent": parent, "path": path, "created_at": now()}
        # In the order of their names, so that two writers of overlapping sets cannot wait for each other.
        ordered = sorted(shards, key=lambda shard: shard.digest)
        places = [{"tenant": tenant, **shard.model_dump()} for shard in ordered]
        with self._db.write() as connection:
            hold_manifests(connection)
            if parent is not None:
                manifest_row(connection, tenant, parent)
            _not_deleted(connection, run)
            if not insert_new(connection, manifests, **row):  # one that was deleted is wanted again
                mine = sa.and_(manifests.c.tenant == tenant, manifests.c.id == manifest_id)
                back = sa.update(manifests).where(mine, manifests.c.deleted_at.is_not(None))
                connection.execute(back.values(deleted_at=None, run=run))
            for start in range(0, len(places), _ROWS_A_STATEMENT):
                part = places[start : start + _ROWS_A_STATEMENT]
                connection.execute(ignoring(connection, manifest_shards), part)
            return manifest_row(connection, tenant, manifest_id)

    def get(self, tenant: str, manifest_id: str) -> ManifestRow:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return manifest_row(connection, tenant, manifest_id)

    def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 100, run: str | None = None
    ) -> Page[ManifestRow]:
        """The tenant's manifests (or those of one run), newest first."""
        query = sa.select(*_COLUMNS).where(manifests.c.tenant == tenant, manifests.c.deleted_at.is_(None))
        if run is not None:
            query = query.where(manifests.c.run == run)
        if cursor is not None:
            at, manifest_id = decode_cursor(cursor, [float, str])
            before = sa.tuple_(manifests.c.created_at, manifests.c.id) < sa.tuple_(sa.literal(at), manifest_id)
            query = query.where(before)
        query = query.order_by(manifests.c.created_at.desc(), manifests.c.id.desc())
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [ManifestRow(**row) for row in rows]
        return page_of(found, limit, lambda row: (row.created_at.timestamp(), row.id))

    def lineage(self, tenant: str, manifest_id: str) -> list[ManifestRow]:
        """The manifest and its ancestors, newest first. Raises NotFoundError."""
        line, seen = [], set()
        with self._db.read() as connection:
            following: str | None = manifest_id
            while following is not None and following not in seen:
                seen.add(following)
                try:
                    line.append(manifest_row(connection, tenant, following))
                except NotFoundError:
                    if not line:
                        raise
                    break  # an ancestor that was deleted
                following = line[-1].parent
        return line

    def shard(self, tenant: str, digest: str) -> ShardPlace:
        """Where a shard of this tenant lies. Raises NotFoundError, for another tenant's shard too."""
        mine = sa.and_(manifest_shards.c.tenant == tenant, manifest_shards.c.digest == digest)
        columns = [manifest_shards.c[name] for name in ShardPlace.model_fields]
        with self._db.read() as connection:
            row = connection.execute(sa.select(*columns).where(mine)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no shard {digest!r}; its manifest lists the digests that exist")
        return ShardPlace(**row)


def _not_deleted(connection: sa.Connection, run: str | None) -> None:
    query = sa.select(runs.c.id).where(runs.c.id == run, runs.c.deleted_at.is_not(None))
    if connection.execute(query).first() is not None:
        raise NotFoundError(f"run {run} was deleted meanwhile, so nothing more is made of it")


def manifest_row(connection: sa.Connection, tenant: str, manifest_id: str) -> ManifestRow:
    """Raises NotFoundError."""
    mine = (manifests.c.tenant == tenant, manifests.c.id == manifest_id, manifests.c.deleted_at.is_(None))
    query = sa.select(*_COLUMNS).where(*mine)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no manifest {manifest_id!r}; check the id and the credential")
    return ManifestRow(**row)

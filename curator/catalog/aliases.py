"""Names of manifests that move: `prod`, which people set, and `latest`, which follows what runs make.

Knows manifests by id only. Every move leaves a line that is never changed or removed.

`latest` is the manifest of the tenant's run that succeeded last, `latest@<dataset>` that of the dataset's; both are
moved in the transaction that ends the run. When verdicts of that manifest are overturned, or it is compacted, they
move on to the child. When its run is deleted they fall back to where they stood before. Nobody sets them by hand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, hold_manifests, insert_new, now
from curator.catalog.events import emit
from curator.catalog.manifests import manifest_row
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import manifest_aliases, manifests
from curator.catalog.schema_plans import manifest_moves
from curator.errors import ConflictError, NotFoundError

__all__ = ["LATEST", "Alias", "AliasMove", "Aliases", "fall_back", "itself", "moves_by_itself", "run_succeeded"]

LATEST: Final = "latest"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Alias(_Record):
    """`version` grows with every move (the ETag)."""

    name: str
    manifest: str
    version: int
    updated_at: dt.datetime


class AliasMove(_Record):
    """One move: who (a key's id, or a run's), when, from where to where."""

    sequence: int
    name: str
    from_manifest: str | None
    to_manifest: str
    by: str
    note: str
    at: dt.datetime


_ALIAS: Final = [manifest_aliases.c[name] for name in Alias.model_fields]
_MOVE: Final = [manifest_moves.c[name] for name in AliasMove.model_fields]


def moves_by_itself(name: str) -> bool:
    """Whether it is `latest`, of all or of one dataset."""
    return name.partition("@")[0] == LATEST


def itself() -> sa.ColumnElement[bool]:
    """`moves_by_itself` as a condition."""
    name = manifest_aliases.c.name
    return sa.or_(name == LATEST, name.startswith(f"{LATEST}@", autoescape=True))


class Aliases:
    def __init__(self, database: Database):
        self._db = database

    def get(self, tenant: str, name: str) -> Alias:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            found = _alias(connection, tenant, name)
        if found is None:
            first = "no run has succeeded yet" if moves_by_itself(name) else "set it first"
            raise NotFoundError(f"there is no alias {name!r}; {first}, or name a manifest by its id (man_…)")
        return found

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[Alias]:
        """The tenant's aliases by name."""
        query = sa.select(*_ALIAS).where(manifest_aliases.c.tenant == tenant).order_by(manifest_aliases.c.name)
        if cursor is not None:
            query = query.where(manifest_aliases.c.name > decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            found = [Alias(**row) for row in connection.execute(query.limit(checked_limit(limit) + 1)).mappings()]
        return page_of(found, limit, lambda alias: (alias.name,))

    def moves(self, tenant: str, name: str, *, cursor: str | None = None, limit: int = 100) -> Page[AliasMove]:
        """Every move of a name, newest first. Raises NotFoundError."""
        self.get(tenant, name)
        query = sa.select(*_MOVE).filter_by(tenant=tenant, name=name).order_by(manifest_moves.c.sequence.desc())
        if cursor is not None:
            query = query.where(manifest_moves.c.sequence < decode_cursor(cursor, [int])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [AliasMove(**row) for row in rows]
        return page_of(found, limit, lambda move: (move.sequence,))

    def set(
        self, tenant: str, name: str, manifest: str, *, by: str, note: str = "", version: int | None = None
    ) -> Alias:
        """Points a name at a manifest. Raises NotFoundError for an unknown manifest; ConflictError for a name that
        moves by itself, or if `version` (If-Match; 0 for a name that must be new) is not the present one."""
        if moves_by_itself(name):
            raise ConflictError(f"{name!r} follows what runs make and is not set by hand; choose another name")
        with self._db.write() as connection:
            hold_manifests(connection)
            manifest_row(connection, tenant, manifest)
            present = _locked(connection, tenant, name, manifest)
            if version is not None and present.version != version:
                raise ConflictError(f"alias {name!r} is at version {present.version}, the request was for {version}")
            _move(connection, tenant, [present], manifest, by, note)
            after = _alias(connection, tenant, name)
            assert after is not None
            return after

    def follow(self, tenant: str, parent: str, child: str, *, by: str) -> None:
        """Names that move by themselves go from a manifest to the child that replaces it; others stay."""
        query = sa.select(manifest_aliases.c.name).filter_by(tenant=tenant, manifest=parent)
        with self._db.write() as connection:
            hold_manifests(connection)
            names = sorted(filter(moves_by_itself, connection.execute(query).scalars()))
            rows = [_locked(connection, tenant, name, child) for name in names]
            _move(connection, tenant, [row for row in rows if row.manifest == parent], child, by, f"child of {parent}")


def run_succeeded(connection: sa.Connection, tenant: str, run: str, manifest: str, dataset: str | None) -> None:
    """`latest` moves: part of the transaction that ends the run, before its event."""
    names = [LATEST, *([f"{LATEST}@{dataset}"] if dataset is not None else [])]
    _move(connection, tenant, [_locked(connection, tenant, name, manifest) for name in names], manifest, run, "")


def fall_back(connection: sa.Connection, tenant: str, gone: Collection[str], *, by: str) -> None:
    """Names that move by themselves leave manifests that were just deleted for the last place of theirs that is left;
    without one they go, with their moves. Part of the transaction that deletes, before its event."""
    query = sa.select(manifest_aliases.c.name).where(manifest_aliases.c.tenant == tenant, itself())
    stuck = query.where(manifest_aliases.c.manifest.in_(gone)).order_by(manifest_aliases.c.name)
    for name in connection.execute(stuck.with_for_update()).scalars().all():
        place = _last_place(connection, tenant, name)
        if place is not None:
            _move(connection, tenant, [_locked(connection, tenant, name, place)], place, by, "its run was deleted")
            continue
        for table in (manifest_aliases, manifest_moves):
            connection.execute(sa.delete(table).filter_by(tenant=tenant, name=name))


def _last_place(connection: sa.Connection, tenant: str, name: str) -> str | None:
    """The manifest that a name stood at last, of those that are not deleted."""
    moves, theirs = manifest_moves.c, manifests.c
    there = sa.and_(theirs.tenant == moves.tenant, theirs.id == moves.to_manifest, theirs.deleted_at.is_(None))
    query = sa.select(moves.to_manifest).join(manifests, there).where(moves.tenant == tenant, moves.name == name)
    return connection.execute(query.order_by(moves.sequence.desc()).limit(1)).scalar()


def _move(connection: sa.Connection, tenant: str, rows: Sequence[Alias], manifest: str, by: str, note: str) -> None:
    """Locked names to their new place, each with its line; events come last (see `emit`)."""
    for row in rows:
        update = sa.update(manifest_aliases).filter_by(tenant=tenant, name=row.name)
        connection.execute(update.values(manifest=manifest, version=row.version + 1, updated_at=now()))
        before = row.manifest if row.version else None
        line = {"name": row.name, "from_manifest": before, "to_manifest": manifest, "by": by, "note": note}
        connection.execute(sa.insert(manifest_moves).values(tenant=tenant, **line, at=now()))
    for row in rows:
        told = {"from_manifest": row.manifest if row.version else None, "to_manifest": manifest, "by": by}
        emit(connection, tenant, "manifest.moved", row.name, told)


def _locked(connection: sa.Connection, tenant: str, name: str, manifest: str) -> Alias:
    """The name's row, this transaction's to move; version 0 when it is new."""
    new = {"tenant": tenant, "name": name, "manifest": manifest, "version": 0, "updated_at": now()}
    insert_new(connection, manifest_aliases, **new)
    present = _alias(connection, tenant, name, lock=True)
    assert present is not None
    return present


def _alias(connection: sa.Connection, tenant: str, name: str, *, lock: bool = False) -> Alias | None:
    query = sa.select(*_ALIAS).filter_by(tenant=tenant, name=name)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else Alias(**row)

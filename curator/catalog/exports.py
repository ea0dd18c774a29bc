"""Exports: a manifest's kept rows being written for other tools, as jobs a runner works on.

Knows nothing of formats. An export is leased to a runner like a run is, with a fence; cancelling it takes the lease
away.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.events import emit
from curator.catalog.ids import new_id
from curator.catalog.jobs import JobState
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema_exports import exports
from curator.errors import ConflictError, LeaseLostError, NotFoundError

__all__ = ["ClaimedExport", "Export", "ExportFormat", "Exports"]

ExportFormat = Literal["parquet", "mds", "webdataset", "jsonl"]
_S = JobState


class Export(BaseModel):
    """`result`: the folder below the root, and its files with bytes and SHA-256, once it has succeeded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    manifest: str
    format: ExportFormat
    state: JobState
    attempt: int
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class ClaimedExport(BaseModel):
    """An export that is this process's to write, as long as the fence holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    manifest: str
    format: ExportFormat
    attempt: int
    owner: str
    fence: int


_COLUMNS: Final = [exports.c[name] for name in Export.model_fields]
_EXPIRED: Final = (exports.c.lease_until < now()).label("expired")
_NO_LEASE: Final[dict[str, Any]] = {"lease_owner": None, "lease_until": None}


class Exports:
    def __init__(self, database: Database):
        self._db = database

    def create(self, tenant: str, manifest: str, form: ExportFormat, *, export_id: str | None = None) -> Export:
        """A queued export. A reserved id makes one."""
        values = {"id": export_id or new_id("exp"), "tenant": tenant, "manifest": manifest, "format": form}
        fresh = {"state": _S.QUEUED, "attempt": 1, "fence": 0, "version": 1, "created_at": now(), "updated_at": now()}
        with self._db.write() as connection:
            inserted = insert_new(connection, exports, **values, **fresh)
            export = _export(connection, tenant, values["id"])
            if inserted:
                _tell(connection, export, None)
            return export

    def get(self, tenant: str, export_id: str) -> Export:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _export(connection, tenant, export_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[Export]:
        """The tenant's exports, newest first."""
        query = sa.select(*_COLUMNS).where(exports.c.tenant == tenant).order_by(exports.c.id.desc())
        if cursor is not None:
            query = query.where(exports.c.id < decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [Export(**row) for row in rows]
        return page_of(found, limit, lambda export: (export.id,))

    def cancel(self, tenant: str, export_id: str, *, version: int | None = None) -> Export:
        """Stops an export for good. Raises NotFoundError; ConflictError for one that has ended, and for a `version`
        (If-Match) that is not the present one."""
        with self._db.write() as connection:
            export = _export(connection, tenant, export_id)
            if version is not None and export.version != version:
                raise ConflictError(f"export {export_id} is at version {export.version}, the request was for {version}")
            if export.state not in (_S.QUEUED, _S.RUNNING):
                raise ConflictError(f"export {export_id} is {export.state} and cannot be cancelled any more")
            return _moved(connection, export, _S.CANCELLED)

    def claim(self, owner: str, lease_s: float) -> ClaimedExport | None:
        """Takes the oldest queued export for `lease_s` seconds; None if there is none. Two runners never get the same
        one."""
        query = sa.select(*_COLUMNS).where(exports.c.state == _S.QUEUED).order_by(exports.c.id)
        with self._db.write() as connection:
            row = connection.execute(query.limit(1).with_for_update(skip_locked=True)).mappings().one_or_none()
            return None if row is None else _leased(connection, Export(**row), owner, lease_s)

    def reap(self, max_attempts: int, *, is_dead: Callable[[str], bool] | None = None) -> list[Export]:
        """Takes exports away from owners whose lease ran out (or that `is_dead` says are gone): they are queued with
        the next attempt, or failed after `max_attempts`. Their fence moves on. Any runner may call this."""
        lease = sa.select(exports.c.tenant, exports.c.id, exports.c.lease_owner, _EXPIRED)
        with self._db.read() as connection:
            found = connection.execute(lease.where(exports.c.state == _S.RUNNING)).all()
        reaped = []
        for tenant, export_id, owner, expired in found:
            if expired or (is_dead is not None and is_dead(owner)):
                export = self._reap_one(tenant, export_id, owner, expired=expired, attempts=max_attempts)
                reaped += [export] if export is not None else []
        return reaped

    def _reap_one(self, tenant: str, export_id: str, owner: str, *, expired: bool, attempts: int) -> Export | None:
        """Looks again under the lock, as the owner may have come back."""
        with self._db.write() as connection:
            export = _export(connection, tenant, export_id)
            present = sa.select(exports.c.lease_owner, _EXPIRED).where(exports.c.id == export_id)
            holder, still_expired = connection.execute(present).one()
            if export.state != _S.RUNNING or holder != owner or (expired and not still_expired):
                return None
            fence = {"fence": exports.c.fence + 1}
            if export.attempt < attempts:
                return _moved(connection, export, _S.QUEUED, attempt=export.attempt + 1, **fence)
            told = f"its runner was lost in attempt {export.attempt} of {attempts}; look for what kills it"
            return _moved(connection, export, _S.FAILED, error={"code": "lease_lost", "message": told}, **fence)

    def heartbeat(self, export: ClaimedExport, lease_s: float, progress: Mapping[str, Any] | None = None) -> None:
        """Renews the lease and writes the progress if one is given. Raises LeaseLostError when the export has ended,
        by a cancel for one, or is another runner's now."""
        with self._db.write() as connection:
            held = _held(connection, export)
            values: dict[str, Any] = {"lease_until": now() + lease_s}
            if progress is not None:
                values |= {"progress": dict(progress), "version": held.version + 1, "updated_at": now()}
            connection.execute(sa.update(exports).where(exports.c.id == export.id).values(**values))

    def finish(self, export: ClaimedExport, result: Mapping[str, Any]) -> Export:
        """It is written. Raises LeaseLostError: then what was written is nobody's."""
        with self._db.write() as connection:
            return _moved(connection, _held(connection, export), _S.SUCCEEDED, result=dict(result))

    def fail(self, export: ClaimedExport, error: Mapping[str, Any]) -> Export:
        """It cannot be written. Raises LeaseLostError."""
        with self._db.write() as connection:
            return _moved(connection, _held(connection, export), _S.FAILED, error=dict(error))

    def release(self, export: ClaimedExport, *, again: bool = False) -> None:
        """Its runner gives it back: queued, the same attempt, or with `again` the next one. Raises LeaseLostError."""
        with self._db.write() as connection:
            held = _held(connection, export)
            _moved(connection, held, _S.QUEUED, attempt=held.attempt + again)


def _leased(connection: sa.Connection, export: Export, owner: str, lease_s: float) -> ClaimedExport:
    values = {
        "state": _S.RUNNING,
        "fence": exports.c.fence + 1,
        "lease_owner": owner,
        "lease_until": now() + lease_s,
        "version": export.version + 1,
        "updated_at": now(),
    }
    mine = exports.c.id == export.id
    connection.execute(sa.update(exports).where(mine).values(**values))
    fence = connection.execute(sa.select(exports.c.fence).where(mine)).scalar_one()
    _tell(connection, _export(connection, export.tenant, export.id), export.state)
    kept = {"id": export.id, "tenant": export.tenant, "manifest": export.manifest, "format": export.format}
    return ClaimedExport(attempt=export.attempt, owner=owner, fence=fence, **kept)


def _held(connection: sa.Connection, export: ClaimedExport) -> Export:
    present = _export(connection, export.tenant, export.id)
    fence = connection.execute(sa.select(exports.c.fence).where(exports.c.id == export.id)).scalar_one()
    if fence != export.fence or present.state != _S.RUNNING:
        raise LeaseLostError(
            f"export {export.id} is {present.state} with fence {fence}, this runner held fence {export.fence}; "
            "it stops here"
        )
    return present


def _moved(connection: sa.Connection, export: Export, to: JobState, **values: Any) -> Export:
    changes = {"state": to, "version": export.version + 1, "updated_at": now(), **_NO_LEASE, **values}
    connection.execute(sa.update(exports).where(exports.c.id == export.id).values(**changes))
    after = _export(connection, export.tenant, export.id)
    _tell(connection, after, export.state)
    return after


def _tell(connection: sa.Connection, export: Export, before: JobState | None) -> None:
    data = {"from_state": before, "to_state": export.state, "attempt": export.attempt, "version": export.version}
    emit(connection, export.tenant, "export.state", export.id, data)


def _export(connection: sa.Connection, tenant: str, export_id: str, *, lock: bool = True) -> Export:
    query = sa.select(*_COLUMNS).where(exports.c.tenant == tenant, exports.c.id == export_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no export {export_id!r}; check the id and the credential")
    return Export(**row)

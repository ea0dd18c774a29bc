"""Exports: a manifest's kept rows being written for other tools, as jobs a runner works on.

Knows nothing of formats, nor of how a lease is kept (leased.py). An export is leased to a runner like a run is, with a
fence; cancelling it takes the lease away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import sqlalchemy as sa

from curator.catalog.database import Database
from curator.catalog.ids import new_id
from curator.catalog.leased import Claim, JobState, Leases, Work
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema_exports import exports
from curator.errors import ConflictError

__all__ = ["ClaimedExport", "Export", "ExportFormat", "Exports"]

ExportFormat = Literal["parquet", "mds", "webdataset", "jsonl"]
_S = JobState


class Export(Work):
    """`result`: the folder below the root, and its files with bytes and SHA-256, once it has succeeded."""

    manifest: str
    format: ExportFormat


class ClaimedExport(Claim):
    """An export that is this process's to write, as long as the fence holds."""

    manifest: str
    format: ExportFormat


class Exports:
    def __init__(self, database: Database):
        self._db = database
        names = {"oldest": "id", "noun": "export", "event": "export.state"}
        self._leases = Leases(database, exports, Export, ClaimedExport, **names)

    def create(self, tenant: str, manifest: str, form: ExportFormat, *, export_id: str | None = None) -> Export:
        """A queued export. A reserved id makes one."""
        values = {"id": export_id or new_id("exp"), "tenant": tenant, "manifest": manifest, "format": form}
        return self._leases.add(**values, state=_S.QUEUED)

    def get(self, tenant: str, export_id: str) -> Export:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return self._leases.row(connection, tenant, export_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[Export]:
        """The tenant's exports, newest first."""
        query = sa.select(*self._leases.columns).where(exports.c.tenant == tenant).order_by(exports.c.id.desc())
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
            export = self._leases.row(connection, tenant, export_id)
            if version is not None and export.version != version:
                raise ConflictError(f"export {export_id} is at version {export.version}, the request was for {version}")
            if export.state not in (_S.QUEUED, _S.RUNNING):
                raise ConflictError(f"export {export_id} is {export.state} and cannot be cancelled any more")
            return self._leases.moved(connection, export, _S.CANCELLED)

    def counts(self) -> dict[JobState, int]:
        """How many are in each state, of every tenant."""
        return self._leases.counts()

    def claim(self, owner: str, lease_s: float) -> ClaimedExport | None:
        """Takes the oldest queued export for `lease_s` seconds; None if there is none. Two runners never get the same
        one."""
        return self._leases.claim(owner, lease_s)

    def reap(self, max_attempts: int, *, is_dead: Callable[[str], bool] | None = None) -> list[Export]:
        """Takes exports away from owners whose lease ran out (or that `is_dead` says are gone): they are queued with
        the next attempt, or failed after `max_attempts`. Their fence moves on. Any runner may call this."""
        return self._leases.reap(max_attempts, is_dead)

    def heartbeat(self, export: ClaimedExport, lease_s: float, progress: Mapping[str, Any] | None = None) -> None:
        """Renews the lease and writes the progress if one is given. Raises LeaseLostError when the export has ended,
        by a cancel for one, or is another runner's now."""
        self._leases.heartbeat(export, lease_s, progress)

    def finish(self, export: ClaimedExport, result: Mapping[str, Any]) -> Export:
        """It is written. Raises LeaseLostError: then what was written is nobody's."""
        return self._leases.let_go(export, _S.SUCCEEDED, result=dict(result))

    def fail(self, export: ClaimedExport, error: Mapping[str, Any]) -> Export:
        """It cannot be written. Raises LeaseLostError."""
        return self._leases.let_go(export, _S.FAILED, error=dict(error))

    def release(self, export: ClaimedExport, *, again: bool = False) -> None:
        """Its runner gives it back: queued, the same attempt, or with `again` the next one. Raises LeaseLostError."""
        self._leases.let_go(export, _S.QUEUED, attempt=export.attempt + again)

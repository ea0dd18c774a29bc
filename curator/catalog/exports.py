"""Exports: a manifest's kept rows being written for other tools, as jobs a runner works on.

Knows nothing of formats, nor of how such work is kept (queued.py).
"""

from __future__ import annotations

from typing import Literal

from curator.catalog.database import Database, hold_manifests
from curator.catalog.ids import new_id
from curator.catalog.leased import Claim, JobState, Work
from curator.catalog.manifests import manifest_row
from curator.catalog.queued import QueuedWork
from curator.catalog.schema_exports import exports

__all__ = ["ClaimedExport", "Export", "ExportFormat", "Exports"]

ExportFormat = Literal["parquet", "mds", "webdataset", "jsonl"]


class Export(Work):
    """`result`: the folder below the root, and its files with bytes and SHA-256, once it has succeeded."""

    manifest: str
    format: ExportFormat


class ClaimedExport(Claim):
    """An export that is this process's to write, as long as the fence holds."""

    manifest: str
    format: ExportFormat


class Exports(QueuedWork[Export, ClaimedExport]):
    def __init__(self, database: Database):
        super().__init__(database, exports, Export, ClaimedExport, noun="export", event="export.state")

    def create(self, tenant: str, manifest: str, form: ExportFormat, *, export_id: str | None = None) -> Export:
        """A queued export. A reserved id makes one. Raises NotFoundError for a manifest that is not there."""
        values = {"id": export_id or new_id("exp"), "tenant": tenant, "manifest": manifest, "format": form}
        with self._db.write() as connection:
            hold_manifests(connection)  # or it could be deleted between the look and the export that holds it
            manifest_row(connection, tenant, manifest)
            return self._leases.add_in(connection, **values, state=JobState.QUEUED)

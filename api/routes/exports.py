"""/v1/exports: a manifest's kept rows as files for other tools, written by a runner and downloaded here.

Parses and answers; `pipelines/exporting.py` writes.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from starlette.responses import Response

from api.auth import Reader, Writer
from api.bodies import Body, VersionedView, View, routes_under
from api.manifest_shelf import known_manifest
from api.once import create_once
from api.replies import accepted, if_match, immutable_file, reply, unchanged
from api.run_views import without_root
from api.service import Service, service_of
from curator.catalog import Export, ExportFormat, JobState
from curator.errors import ConflictError, NotFoundError, RequestError
from pipelines.purging import purge_export

routes = routes_under("/v1/exports", "exports")

BUSY = (JobState.QUEUED, JobState.RUNNING)
_MEDIA = {
    ".parquet": "application/vnd.apache.parquet",
    ".jsonl": "application/jsonl",
    ".json": "application/json",
    ".tar": "application/x-tar",
}


class NewExport(Body):
    manifest: str
    format: Literal["parquet", "mds", "webdataset", "jsonl"]


class ExportFile(View):
    name: str
    bytes: int
    sha256: str
    url: str


class ExportView(VersionedView):
    """`files` are there once it has succeeded. `progress`: {rows_done, rows_total}."""

    id: str
    manifest: str
    format: ExportFormat
    state: JobState
    attempt: int
    rows: int | None
    progress: dict[str, Any] | None
    files: tuple[ExportFile, ...]
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    poll_after_ms: int | None


class ExportList(View):
    items: tuple[ExportView, ...]
    next_cursor: str | None
    poll_after_ms: int


@routes.post("", status_code=202, response_model=ExportView)
def create_export(request: Request, caller: Writer, body: NewExport) -> Response:
    """Queues the writing of every kept row, once, in stored order."""
    service = service_of(request)
    manifest = known_manifest(service, caller.tenant, body.manifest)
    if not manifest.num_live:
        raise RequestError(f"{manifest.id} has no kept rows; there is nothing to export")

    def make(export_id: str) -> tuple[int, str, ExportView]:
        service.allowances.require_some_room(caller.tenant)
        export = service.catalog.exports.create(caller.tenant, manifest.id, body.format, export_id=export_id)
        return 202, f"/v1/exports/{export.id}", export_view(service, export)

    return create_once(request, caller, body, "exp", make)


@routes.get("", response_model=ExportList)
def list_exports(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's exports, newest first."""
    service = service_of(request)
    page = service.catalog.exports.page(caller.tenant, cursor=cursor, limit=limit)
    items = tuple(export_view(service, export) for export in page.items)
    busy = any(item.poll_after_ms for item in items)
    return reply(request, ExportList(items=items, next_cursor=page.next_cursor, poll_after_ms=1000 if busy else 3000))


@routes.get("/{export_id}", response_model=ExportView)
def get_export(request: Request, caller: Reader, export_id: str) -> Response:
    """Where an export stands; its ETag is the row's version."""
    service = service_of(request)
    export = service.catalog.exports.get(caller.tenant, export_id)
    return reply(request, export_view(service, export))


@routes.post("/{export_id}:cancel", status_code=202, response_model=ExportView)
def cancel_export(request: Request, caller: Writer, export_id: str) -> Response:
    """Stops an export for good; what it wrote is removed."""
    service = service_of(request)
    exports = service.catalog.exports
    version = if_match(request, exports.get(caller.tenant, export_id).version)
    export = exports.cancel(caller.tenant, export_id, version=version)
    return accepted(request, export_view(service, export), f"/v1/exports/{export.id}")


@routes.delete("/{export_id}", status_code=204)
def delete_export(request: Request, caller: Writer, export_id: str) -> Response:
    """Removes an export that has ended, with its files."""
    service = service_of(request)
    unchanged(request, lambda: export_view(service, service.catalog.exports.get(caller.tenant, export_id)))
    purge_export(service.catalog, service.store, caller.tenant, export_id)
    return Response(status_code=204)


@routes.get("/{export_id}/files/{name}", response_class=Response)
@routes.head("/{export_id}/files/{name}", include_in_schema=False)
def get_export_file(
    request: Request, caller: Reader, export_id: str, name: Annotated[str, Path(max_length=255)]
) -> Response:
    """One file of an export, whole or a range of it; its ETag is its SHA-256."""
    service = service_of(request)
    export = service.catalog.exports.get(caller.tenant, export_id)
    if export.result is None:
        raise ConflictError(f"export {export_id} is {export.state}; its files are there once it has succeeded")
    found = next((file for file in export.result["files"] if file["name"] == name), None)
    if found is None:
        raise NotFoundError(f"export {export_id} has no file {name!r}; its `files` lists them")
    path = f"{export.result['folder']}/{name}"
    media_type = _MEDIA.get(name[name.rfind(".") :], "application/octet-stream")
    return immutable_file(
        request, service.store, path, found["bytes"], found["sha256"], name=name, media_type=media_type
    )


def export_view(service: Service, export: Export) -> ExportView:
    result = export.result or {"rows": None, "files": []}
    files = tuple(ExportFile(**file, url=f"/v1/exports/{export.id}/files/{file['name']}") for file in result["files"])
    fields = {name: getattr(export, name) for name in ("id", "manifest", "format", "state", "attempt", "version")}
    return ExportView(
        **fields,
        rows=result["rows"],
        progress=export.progress,
        files=files,
        error=without_root(export.error, service.store),
        created_at=export.created_at,
        updated_at=export.updated_at,
        poll_after_ms=1000 if export.state in BUSY else None,
    )

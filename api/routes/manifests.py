"""/v1/manifests: what a run made: its shards, where it came from, how two of them differ.

Parses and answers; the manifest itself is sent as it lies in the store.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from api.auth import Reader
from api.bodies import View, routes_under
from api.manifest_diff import Difference, difference
from api.manifest_shelf import known_manifest, lineage
from api.replies import reply
from api.service import service_of
from curator.catalog import ManifestRow
from curator.shards import Manifest

routes = routes_under("/v1/manifests", "manifests")


class ManifestView(View):
    id: str
    run: str | None
    parent: str | None
    created_at: dt.datetime


class ManifestList(View):
    items: tuple[ManifestView, ...]
    next_cursor: str | None


class Lineage(View):
    """The manifest and its ancestors, newest first."""

    items: tuple[ManifestView, ...]


@routes.get("", response_model=ManifestList)
def list_manifests(
    request: Request,
    caller: Reader,
    run: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The tenant's manifests (or those of one run), newest first."""
    page = service_of(request).catalog.manifests.page(caller.tenant, cursor=cursor, limit=limit, run=run)
    return reply(request, ManifestList(items=tuple(map(_view, page.items)), next_cursor=page.next_cursor))


@routes.get("/{manifest_id}", response_model=Manifest)
def get_manifest(request: Request, caller: Reader, manifest_id: str) -> Response:
    """The manifest whole, by its id or by an alias. Its id, the ETag, is the digest of its content: it never changes.
    Content-Location names it, which is what an alias points at now."""
    manifest = known_manifest(service_of(request), caller.tenant, manifest_id)
    kept = "private, max-age=31536000, immutable" if manifest_id == manifest.id else "private, no-cache"
    headers = {"Cache-Control": kept, "Vary": "Authorization", "Content-Location": f"/v1/manifests/{manifest.id}"}
    return reply(request, manifest, etag=manifest.id, headers=headers)


@routes.get("/{manifest_id}/lineage", response_model=Lineage)
def get_lineage(request: Request, caller: Reader, manifest_id: str) -> Response:
    """Which manifest this one overturns, and so on to the run's own."""
    rows = lineage(service_of(request), caller.tenant, manifest_id)
    return reply(request, Lineage(items=tuple(map(_view, rows))))


@routes.get("/{manifest_id}/diff", response_model=Difference)
def get_diff(request: Request, caller: Reader, manifest_id: str, base: str) -> Response:
    """Which rows live in one and not in the other."""
    service = service_of(request)
    after = known_manifest(service, caller.tenant, manifest_id)
    return reply(request, difference(service.reader, known_manifest(service, caller.tenant, base), after))


def _view(row: ManifestRow) -> ManifestView:
    return ManifestView(id=row.id, run=row.run, parent=row.parent, created_at=row.created_at)

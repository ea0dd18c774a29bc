"""/v1/rewrites: shards written once more, merged or in an epoch's order, by a runner.

Parses and answers; `pipelines/rewriting.py` writes.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import Response

from api.auth import Reader, Writer
from api.bodies import Body, VersionedView, View, routes_under
from api.manifest_shelf import known_manifest
from api.once import create_once
from api.plan_shelf import known_plan
from api.replies import accepted, if_match, reply
from api.run_views import without_root
from api.service import Service, service_of
from curator.catalog import JobState, Rewrite, RewriteKind
from curator.client.packing import Pack
from curator.errors import NotFoundError

routes = routes_under("/v1", "rewrites")

BUSY = (JobState.QUEUED, JobState.RUNNING)
Epoch = Annotated[int, Path(ge=0, lt=2**31)]


class Asked(Body):
    """Nothing is asked but what the address says."""


NOTHING = Asked()


class RewriteView(VersionedView):
    """`result`, once it has succeeded: {manifest, shards, shards_before}; a compaction that found nothing to merge
    names the manifest itself. `progress`: {rows_done, rows_total}."""

    id: str
    kind: RewriteKind
    manifest: str
    plan: str | None
    epoch: int | None
    state: JobState
    attempt: int
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    poll_after_ms: int | None


class RewriteList(View):
    items: tuple[RewriteView, ...]
    next_cursor: str | None
    poll_after_ms: int


@routes.post("/manifests/{manifest_id}:compact", status_code=202, response_model=RewriteView)
def compact_manifest(request: Request, caller: Writer, manifest_id: str, body: Asked = NOTHING) -> Response:
    """Queues the merging of small neighbouring shards under a child manifest; every row stays as it is."""
    service = service_of(request)
    manifest = known_manifest(service, caller.tenant, manifest_id)

    def make(rewrite_id: str) -> tuple[int, str, RewriteView]:
        made = service.catalog.rewrites.create(caller.tenant, "compact", manifest.id, rewrite_id=rewrite_id)
        return 202, f"/v1/rewrites/{made.id}", rewrite_view(service, made)

    return create_once(request, caller, body, "rwr", make)


@routes.post("/epoch-plans/{plan_id}/epochs/{epoch}:pack", status_code=202, response_model=RewriteView)
def pack_epoch(request: Request, caller: Writer, plan_id: str, epoch: Epoch, body: Asked = NOTHING) -> Response:
    """Queues the writing of an epoch's rows in the order they are consumed, so that trainers read in sequence."""
    service = service_of(request)
    row, plan = known_plan(service, caller.tenant, plan_id)
    plan.ratios(epoch)
    rewrites = service.catalog.rewrites

    def make(rewrite_id: str) -> tuple[int, str, RewriteView]:
        named = {"rewrite_id": rewrite_id, "plan": row.id}
        made = rewrites.create(caller.tenant, "pack", row.manifest, epoch=epoch, **named)
        return 202, f"/v1/rewrites/{made.id}", rewrite_view(service, made)

    return create_once(request, caller, body, "rwr", make)


@routes.get("/epoch-plans/{plan_id}/epochs/{epoch}/pack", response_model=Pack)
def get_pack(request: Request, caller: Reader, plan_id: str, epoch: Epoch) -> Response:
    """The record of a packed epoch: its manifest lists the shards to read in sequence."""
    service = service_of(request)
    row, plan = known_plan(service, caller.tenant, plan_id)
    plan.ratios(epoch)
    try:
        record = Pack.load(service.store, plan, epoch)
        known_manifest(service, caller.tenant, record.manifest)
    except NotFoundError as error:
        raise NotFoundError(f"epoch {epoch} of {row.id} is not packed; POST …/epochs/{epoch}:pack first") from error
    return reply(request, record)


@routes.get("/rewrites", response_model=RewriteList)
def list_rewrites(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's compactions and packs, newest first."""
    service = service_of(request)
    page = service.catalog.rewrites.page(caller.tenant, cursor=cursor, limit=limit)
    items = tuple(rewrite_view(service, row) for row in page.items)
    busy = any(item.poll_after_ms for item in items)
    return reply(request, RewriteList(items=items, next_cursor=page.next_cursor, poll_after_ms=1000 if busy else 3000))


@routes.get("/rewrites/{rewrite_id}", response_model=RewriteView)
def get_rewrite(request: Request, caller: Reader, rewrite_id: str) -> Response:
    """Where a rewrite stands; its ETag is the row's version."""
    service = service_of(request)
    row = service.catalog.rewrites.get(caller.tenant, rewrite_id)
    return reply(request, rewrite_view(service, row))


@routes.post("/rewrites/{rewrite_id}:cancel", status_code=202, response_model=RewriteView)
def cancel_rewrite(request: Request, caller: Writer, rewrite_id: str) -> Response:
    """Stops a rewrite for good."""
    service = service_of(request)
    rewrites = service.catalog.rewrites
    version = if_match(request, rewrites.get(caller.tenant, rewrite_id).version)
    row = rewrites.cancel(caller.tenant, rewrite_id, version=version)
    return accepted(request, rewrite_view(service, row), f"/v1/rewrites/{row.id}")


def rewrite_view(service: Service, row: Rewrite) -> RewriteView:
    fields = row.model_dump(exclude={"tenant", "error"})
    busy = 1000 if row.state in BUSY else None
    return RewriteView(**fields, error=without_root(row.error, service.store), poll_after_ms=busy)

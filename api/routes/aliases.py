"""/v1/aliases: names of manifests that move, and who moved them.

Parses and answers; the catalog moves aliases. Wherever a manifest is asked for, an alias will do.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from api.auth import Promoter, Reader
from api.bodies import Body, Note, View, routes_under
from api.manifest_shelf import known_manifest
from api.replies import needed_match, reply
from api.service import service_of
from curator.catalog import Alias, AliasMove
from curator.errors import InputError, NotFoundError

routes = routes_under("/v1/aliases", "manifests")

Name = Annotated[str, Path(max_length=100)]
NewName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$", description="not man_…, as ids are")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class AliasList(View):
    """By name."""

    items: tuple[Alias, ...]
    next_cursor: str | None


class AliasMoveList(View):
    """Newest first."""

    items: tuple[AliasMove, ...]
    next_cursor: str | None


class Target(Body):
    """`manifest`: an id, or another alias as it stands now."""

    manifest: str
    note: Note = ""


@routes.get("", response_model=AliasList)
def list_manifest_aliases(request: Request, caller: Reader, cursor: str | None = None, limit: Limit = 100) -> Response:
    """The tenant's aliases."""
    page = service_of(request).catalog.aliases.page(caller.tenant, cursor=cursor, limit=limit)
    return reply(request, AliasList(items=page.items, next_cursor=page.next_cursor))


@routes.get("/{alias_name}", response_model=Alias)
def get_manifest_alias(request: Request, caller: Reader, alias_name: Name) -> Response:
    """Where an alias points; its ETag is what a move has to show."""
    found = service_of(request).catalog.aliases.get(caller.tenant, alias_name)
    return reply(request, found, etag=str(found.version))


@routes.put("/{alias_name}", response_model=Alias)
def set_manifest_alias(request: Request, caller: Promoter, alias_name: NewName, body: Target) -> Response:
    """Points an alias at a manifest, under If-Match ("0" for a new one). `latest` moves by itself: 409."""
    if alias_name.startswith("man_"):
        raise InputError(f"alias {alias_name!r} would look like a manifest's id; choose another name")
    service = service_of(request)
    manifest = known_manifest(service, caller.tenant, body.manifest).id
    try:
        present = service.catalog.aliases.get(caller.tenant, alias_name).version
    except NotFoundError:
        present = 0
    version = needed_match(request, present)
    moved = service.catalog.aliases.set(
        caller.tenant, alias_name, manifest, by=caller.name, note=body.note, version=version
    )
    return reply(request, moved, etag=str(moved.version))


@routes.delete("/{alias_name}", status_code=204)
def delete_manifest_alias(request: Request, caller: Promoter, alias_name: Name) -> Response:
    """Forgets an alias and its moves, under If-Match; the manifest stays. `latest` moves by itself: 409."""
    catalog = service_of(request).catalog
    version = needed_match(request, catalog.aliases.get(caller.tenant, alias_name).version)
    catalog.purging.forget_alias(caller.tenant, alias_name, version=version)
    return Response(status_code=204)


@routes.get("/{alias_name}/moves", response_model=AliasMoveList)
def list_manifest_alias_moves(
    request: Request, caller: Reader, alias_name: Name, cursor: str | None = None, limit: Limit = 100
) -> Response:
    """Who moved the alias when, and from where to where."""
    page = service_of(request).catalog.aliases.moves(caller.tenant, alias_name, cursor=cursor, limit=limit)
    return reply(request, AliasMoveList(items=page.items, next_cursor=page.next_cursor))

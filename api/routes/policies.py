"""/v1/policies: what runs have learned, and which of it is champion. Moving an alias is the only promotion.

Parses and answers; the catalog moves aliases, `curator/promotion.py` keeps the gate.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Promoter, Reader
from api.bodies import Body, Note, VersionedView, View, routes_under
from api.replies import immutable_file, needed_match, reply
from api.service import Service, service_of
from curator.catalog import PolicyAlias, PolicyAliasName, PolicyMove, PolicyVersion
from curator.promotion import GateCheck, checks_of

routes = routes_under("/v1/policies", "policies")

WEIGHTS = "judge.safetensors"
Name = Annotated[str, Path(max_length=100)]
Number = Annotated[int, Path(ge=1, lt=2**31)]


class AliasView(VersionedView):
    """`number`: the version it points at, null for none; `version` is its ETag and grows with every move."""

    alias: PolicyAliasName
    number: int | None
    version: int


class PolicyView(View):
    """A policy by name; `newest` is its newest version."""

    name: str
    task: str
    newest: int
    champion: AliasView
    candidate: AliasView


class PolicyList(View):
    items: tuple[PolicyView, ...]
    next_cursor: str | None


class VersionView(View):
    """One learned policy. `policy`: the name ledgers and manifests give it. `sha256`: of its safetensors file.
    `promotion`: what the gate says of it now, against the present champion."""

    name: str
    number: int
    policy: str
    task: str
    run: str
    recipe_digest: str
    sha256: str
    scorecard: dict[str, Any]
    promotion: tuple[GateCheck, ...]
    promotable: bool
    created_at: dt.datetime


class VersionLine(View):
    number: int
    policy: str
    run: str
    created_at: dt.datetime


class VersionList(View):
    items: tuple[VersionLine, ...]
    next_cursor: str | None


class MoveList(View):
    """Every move of the policy's aliases, newest first."""

    items: tuple[PolicyMove, ...]
    next_cursor: str | None


class Move(Body):
    number: int = Field(ge=1, lt=2**31)
    note: Note = ""


class Rollback(Body):
    note: Note = ""


Limit = Annotated[int, Query(ge=1, le=1000)]


@routes.get("", response_model=PolicyList)
def list_policies(request: Request, caller: Reader, cursor: str | None = None, limit: Limit = 100) -> Response:
    """The tenant's policies by name."""
    service = service_of(request)
    page = service.catalog.policies.names(caller.tenant, cursor=cursor, limit=limit)
    items = tuple(_policy(service, row) for row in page.items)
    return reply(request, PolicyList(items=items, next_cursor=page.next_cursor))


@routes.get("/{name}", response_model=PolicyView)
def get_policy(request: Request, caller: Reader, name: Name) -> Response:
    """One policy and where its aliases point."""
    service = service_of(request)
    [newest] = service.catalog.policies.versions(caller.tenant, name, limit=1).items
    return reply(request, _policy(service, newest))


@routes.get("/{name}/versions", response_model=VersionList)
def list_policy_versions(
    request: Request, caller: Reader, name: Name, cursor: str | None = None, limit: Limit = 100
) -> Response:
    """A policy's versions, newest first."""
    page = service_of(request).catalog.policies.versions(caller.tenant, name, cursor=cursor, limit=limit)
    fields = tuple(VersionLine.model_fields)
    items = tuple(VersionLine(**{field: getattr(row, field) for field in fields}) for row in page.items)
    return reply(request, VersionList(items=items, next_cursor=page.next_cursor))


@routes.get("/{name}/versions/{number}", response_model=VersionView)
def get_policy_version(request: Request, caller: Reader, name: Name, number: Number) -> Response:
    """A version with its scorecard, and what the gate of promotion says of it."""
    policies = service_of(request).catalog.policies
    found = policies.get(caller.tenant, name, number)
    held = policies.alias(caller.tenant, name, "champion").number
    checks = checks_of(found.scorecard, None if held is None else policies.get(caller.tenant, name, held).scorecard)
    fields = found.model_dump(exclude={"tenant", "path"})
    promotable = all(check.passed for check in checks)
    return reply(request, VersionView(**fields, promotion=checks, promotable=promotable))


@routes.get("/{name}/versions/{number}/weights", response_class=Response)
def get_weights(request: Request, caller: Reader, name: Name, number: Number) -> Response:
    """The weights as a safetensors file; its ETag is its SHA-256."""
    service = service_of(request)
    found = service.catalog.policies.get(caller.tenant, name, number)
    path = f"{found.path}/{WEIGHTS}"
    saved_as = f"{found.policy}.safetensors"
    size = service.store.size(path)
    media_type = "application/octet-stream"
    return immutable_file(request, service.store, path, size, found.sha256, name=saved_as, media_type=media_type)


@routes.get("/{name}/aliases/{alias}", response_model=AliasView)
def get_alias(request: Request, caller: Reader, name: Name, alias: PolicyAliasName) -> Response:
    """Where an alias points; its ETag is what a move has to show."""
    found = service_of(request).catalog.policies.alias(caller.tenant, name, alias)
    return reply(request, _alias(found))


@routes.put("/{name}/aliases/{alias}", response_model=AliasView)
def move_alias(request: Request, caller: Promoter, name: Name, alias: PolicyAliasName, body: Move) -> Response:
    """Points an alias at a version, under If-Match; `champion` only through the gate."""
    policies = service_of(request).catalog.policies
    version = needed_match(request, policies.alias(caller.tenant, name, alias).version)
    moved = policies.promote(caller.tenant, name, alias, body.number, by=caller.name, note=body.note, version=version)
    return reply(request, _alias(moved))


@routes.post("/{name}/aliases/{alias}:rollback", response_model=AliasView)
def roll_back(request: Request, caller: Promoter, name: Name, alias: PolicyAliasName, body: Rollback) -> Response:
    """Points an alias where it pointed before its last move, under If-Match."""
    policies = service_of(request).catalog.policies
    version = needed_match(request, policies.alias(caller.tenant, name, alias).version)
    moved = policies.roll_back(caller.tenant, name, alias, by=caller.name, note=body.note, version=version)
    return reply(request, _alias(moved))


@routes.get("/{name}/moves", response_model=MoveList)
def list_moves(request: Request, caller: Reader, name: Name, cursor: str | None = None, limit: Limit = 100) -> Response:
    """Who moved which alias when, from where to where, and what the gate found."""
    page = service_of(request).catalog.policies.moves(caller.tenant, name, cursor=cursor, limit=limit)
    return reply(request, MoveList(items=page.items, next_cursor=page.next_cursor))


def _policy(service: Service, newest: PolicyVersion) -> PolicyView:
    policies, at = service.catalog.policies, (newest.tenant, newest.name)
    return PolicyView(
        name=newest.name,
        task=newest.task,
        newest=newest.number,
        champion=_alias(policies.alias(*at, "champion")),
        candidate=_alias(policies.alias(*at, "candidate")),
    )


def _alias(alias: PolicyAlias) -> AliasView:
    return AliasView(alias=alias.alias, number=alias.number, version=alias.version)

"""/v1/keys: who may speak for a tenant, and what they may do. For administrators.

Parses and answers; the catalog keeps hashes, so a secret is told in one answer and never again.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Admin
from api.bodies import Body, View, routes_under
from api.once import create_once
from api.replies import reply, unchanged
from api.service import service_of
from curator.catalog import ApiKey, Scope

routes = routes_under("/v1/keys", "keys")

DAY_S = 86_400
Text = Annotated[str, Field(min_length=1, max_length=255)]


class NewKey(Body):
    """`expires_in_s`: 90 days unless it says otherwise; null never expires."""

    name: Text
    scopes: tuple[Scope, ...] = Field(min_length=1, max_length=len(Scope))
    expires_in_s: int | None = Field(default=90 * DAY_S, ge=60, le=3650 * DAY_S)


class KeyView(View):
    """A key without its secret; `prefix` is the part that may be shown."""

    id: str
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None


class CreatedKey(KeyView):
    """`secret` is told here and never again: null when an Idempotency-Key is answered a second time. Whoever missed it
    revokes the key and makes another."""

    secret: str | None


class KeyList(View):
    items: tuple[KeyView, ...]
    next_cursor: str | None


@routes.post("", status_code=201, response_model=CreatedKey)
def create_key(request: Request, caller: Admin, body: NewKey) -> Response:
    """A new key of the caller's tenant."""
    keys = service_of(request).catalog.keys

    def make(key_id: str) -> tuple[int, str, CreatedKey]:
        key, secret = keys.create(caller.tenant, body.name, body.scopes, ttl_s=body.expires_in_s, key_id=key_id)
        return 201, f"/v1/keys/{key.id}", CreatedKey(**dict(key_view(key)), secret=secret)

    return create_once(request, caller, body, "key", make, told_once="secret")


@routes.get("", response_model=KeyList)
def list_keys(
    request: Request, caller: Admin, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's keys, revoked ones too, oldest first."""
    page = service_of(request).catalog.keys.page(caller.tenant, cursor=cursor, limit=limit)
    return reply(request, KeyList(items=tuple(map(key_view, page.items)), next_cursor=page.next_cursor))


@routes.get("/{key_id}", response_model=KeyView)
def get_key(request: Request, caller: Admin, key_id: str) -> Response:
    """One key, revoked or not, without its secret."""
    return reply(request, key_view(service_of(request).catalog.keys.get(caller.tenant, key_id)))


@routes.delete("/{key_id}", status_code=204)
def revoke_key(request: Request, caller: Admin, key_id: str) -> Response:
    """From now on the key opens nothing."""
    keys = service_of(request).catalog.keys
    unchanged(request, lambda: key_view(keys.get(caller.tenant, key_id)))
    keys.revoke(caller.tenant, key_id)
    return Response(status_code=204)


def key_view(key: ApiKey) -> KeyView:
    fields = key.model_dump(exclude={"tenant", "scopes"})
    return KeyView(**fields, scopes=tuple(sorted(key.scopes)))

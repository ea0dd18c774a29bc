"""/v1/shards and /v1/indexes: immutable files by digest, the hot path of training.

Parses and answers; bytes go out as they lie in the store, whole or in ranges.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from api.auth import Caller, Reader
from api.bodies import Body, View, routes_under
from api.manifest_shelf import place_of
from api.replies import immutable_file, known_already, reply
from api.service import service_of
from curator.errors import IntegrityError
from curator.presigning import presigner_of

routes = routes_under("/v1", "shards")

REDIRECT_S = 300
"""How long a redirect's URL is good: a download that has begun goes on after it."""

ARROW_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/vnd.apache.arrow.file": {"schema": {"type": "string", "format": "binary"}}}},
    307: {"description": "At the object store, where the server is set to point there"},
}
Columns = Annotated[str | None, Query(min_length=1, max_length=10_000, description="names, separated by commas")]
Digest = Annotated[str, Path(max_length=64, description="64 hex digits")]


class WantedShards(Body):
    """Digests of shards or indexes."""

    digests: tuple[Annotated[str, Field(max_length=64)], ...] = Field(min_length=1, max_length=1000)
    expires_s: int = Field(default=900, ge=1, le=43_200, strict=True)


class PresignedShard(View):
    """`direct`: the URL is the object store's, needs no key and is good until `expires_at`; else it is this server's
    own, relative to its address, and needs the caller's key. The SHA-256 of what is fetched is `digest`."""

    digest: str
    bytes: int
    url: str
    direct: bool
    expires_at: dt.datetime | None


class Presigned(View):
    items: tuple[PresignedShard, ...]


@routes.head("/shards/{digest}", include_in_schema=False)
@routes.get("/shards/{digest}", response_class=Response, responses=ARROW_FILE)
def get_shard(request: Request, caller: Reader, digest: Digest, columns: Columns = None) -> Response:
    """A shard: an Arrow IPC file. Takes Range, If-Range and If-None-Match; the ETag is the digest. With `columns` the
    same rows, in the same record batches, with these columns only, under an ETag of its own."""
    if columns is None:
        return _file(request, caller, "shards", digest)
    service, names = service_of(request), columns.split(",")
    place = place_of(service, caller.tenant, "shards", digest)
    found = service.projections.of(service.store, place.path, digest, names)
    return immutable_file(
        request, service.projections.store, found.name, found.bytes, found.digest, name=f"{digest}-columns.arrow"
    )


@routes.head("/indexes/{digest}", include_in_schema=False)
@routes.get("/indexes/{digest}", response_class=Response, responses=ARROW_FILE)
def get_index(request: Request, caller: Reader, digest: Digest) -> Response:
    """The index beside a shard: which of its rows live, by difficulty."""
    return _file(request, caller, "indexes", digest)


@routes.post("/shards:presign", response_model=Presigned)
def presign(request: Request, caller: Reader, body: WantedShards) -> Response:
    """Where each shard or index can be fetched: at the object store itself for a while, where the root is one
    (`direct`; show it no key), else here."""
    service = service_of(request)
    signer = presigner_of(service.store)
    until = None if signer is None else service.catalog.database.clock() + dt.timedelta(seconds=body.expires_s)
    items = []
    for digest in dict.fromkeys(body.digests):
        place = service.catalog.manifests.shard(caller.tenant, digest)
        here = f"/v1/{place.path.partition('/')[0]}/{digest}"
        url = here if signer is None else signer.url(place.path, body.expires_s)
        told = {"digest": digest, "bytes": place.bytes, "direct": signer is not None, "expires_at": until}
        items.append(PresignedShard(url=url, **told))
    return reply(request, Presigned(items=tuple(items)), headers={"Cache-Control": "no-store"})


def _file(request: Request, caller: Caller, kind: Literal["shards", "indexes"], digest: str) -> Response:
    service = service_of(request)
    place = place_of(service, caller.tenant, kind, digest)
    signer = presigner_of(service.store) if service.settings.shard_redirects and request.method == "GET" else None
    if signer is not None:
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        known = known_already(request, digest)
        return known or RedirectResponse(signer.url(place.path, REDIRECT_S), 307, headers)
    size = service.store.size(place.path)
    if size != place.bytes:
        raise IntegrityError(f"{place.path} has {size} bytes, {place.bytes} were written; restore it from a copy")
    return immutable_file(request, service.store, place.path, size, digest)

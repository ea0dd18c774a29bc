"""/v1/shards and /v1/indexes: immutable files by digest, the hot path of training.

Parses and answers; bytes go out as they lie in the store, whole or in ranges.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Path, Request
from starlette.responses import Response

from api.auth import Caller, Reader
from api.bodies import routes_under
from api.manifest_shelf import place_of
from api.replies import immutable_file
from api.service import service_of
from curator.errors import IntegrityError

routes = routes_under("/v1", "shards")

ARROW_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/vnd.apache.arrow.file": {"schema": {"type": "string", "format": "binary"}}}}
}
Digest = Annotated[str, Path(max_length=64, description="64 hex digits")]


@routes.head("/shards/{digest}", include_in_schema=False)
@routes.get("/shards/{digest}", response_class=Response, responses=ARROW_FILE)
def get_shard(request: Request, caller: Reader, digest: Digest) -> Response:
    """A shard: an Arrow IPC file. Takes Range, If-Range and If-None-Match; the ETag is the digest."""
    return _file(request, caller, "shards", digest)


@routes.head("/indexes/{digest}", include_in_schema=False)
@routes.get("/indexes/{digest}", response_class=Response, responses=ARROW_FILE)
def get_index(request: Request, caller: Reader, digest: Digest) -> Response:
    """The index beside a shard: which of its rows live, by difficulty."""
    return _file(request, caller, "indexes", digest)


def _file(request: Request, caller: Caller, kind: Literal["shards", "indexes"], digest: str) -> Response:
    service = service_of(request)
    place = place_of(service, caller.tenant, kind, digest)
    size = service.store.size(place.path)
    if size != place.bytes:
        raise IntegrityError(f"{place.path} has {size} bytes, {place.bytes} were written; restore it from a copy")
    return immutable_file(request, service.store, place.path, size, digest)

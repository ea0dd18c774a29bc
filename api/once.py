"""Creating once: a POST with an `Idempotency-Key` sent again is answered as it was the first time.

Knows the catalog's idempotency keys and HTTP's header; nothing of what is created.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from api.auth import Caller
from api.replies import reply
from api.service import service_of
from curator.catalog import Replay
from curator.catalog.ids import new_id
from curator.digest import canonical_json, sha256_hex
from curator.errors import RequestError

__all__ = ["create_once"]

_MOST: Final = 255


def create_once(
    request: Request,
    caller: Caller,
    body: BaseModel,
    prefix: str,
    make: Callable[[str], tuple[int, str, BaseModel]],
    *,
    told_once: str | None = None,
) -> Response:
    """Calls `make(id)` for (status, Location, answer), once for a key. `told_once`: the field of the answer that holds
    a secret; it is not kept, and null when the answer is given again.

    Without the header it is simply called. Raises ConflictError for a key used for another request (422) or one whose
    first request is still being answered (409). A refused request frees its key.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        status, location, answer = make(new_id(prefix))
        return _told(request, answer, status, location, told_once)
    if not 0 < len(key) <= _MOST or not (key.isascii() and key.isprintable()):
        raise RequestError(f"an Idempotency-Key has 1 to {_MOST} printable ASCII characters; take another one")
    keys = service_of(request).catalog.idempotency
    digest = sha256_hex(canonical_json([request.method, request.url.path, body.model_dump(mode="json")]))
    begun = keys.begin(caller.tenant, key, digest, prefix=prefix)
    if isinstance(begun, Replay):
        return _replayed(begun)
    try:
        status, location, answer = make(begun.resource)
    except Exception:
        keys.abandon(caller.tenant, key)
        raise
    kept = answer if told_once is None else answer.model_copy(update={told_once: None})
    told = _told(request, answer, status, location, told_once)
    first = {"location": location, "etag": told.headers.get("etag"), "body": json.loads(kept.model_dump_json())}
    keys.finish(caller.tenant, key, status, first)
    return told


def _told(request: Request, answer: BaseModel, status: int, location: str, told_once: str | None) -> Response:
    told = reply(request, answer, status, headers=_headers(status, location))
    if told_once is not None:
        del told.headers["etag"]  # nobody will get the secret again, nor this ETag
    return told


def _headers(status: int, location: str) -> dict[str, str]:
    return {"Location": location, **({"Retry-After": "1"} if status == 202 else {})}


def _replayed(first: Replay) -> Response:
    data = json.dumps(first.response["body"], ensure_ascii=False, separators=(",", ":")).encode()
    headers = {**_headers(first.status, first.response["location"]), "Idempotent-Replayed": "true"}
    if first.response.get("etag"):  # what was kept by earlier versions has none
        headers["ETag"] = first.response["etag"]
    return Response(data, first.status, headers, media_type="application/json")

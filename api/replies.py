"""Answers: JSON with an ETag, 304 for what the caller has, versions that must match, byte ranges of immutable files.

Knows HTTP's conditional requests (RFC 9110, sections 13 and 14); nothing of what is being sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from api.bodies import VersionedView
from api.errors import Refusal
from curator.digest import sha256_hex
from curator.storage import Store

__all__ = [
    "accepted",
    "body_tag",
    "if_match",
    "immutable_file",
    "known_already",
    "named",
    "needed_match",
    "reply",
    "unchanged",
]

_CHUNK: Final = 2**20


def reply(
    request: Request,
    body: BaseModel,
    status: int = 200,
    *,
    etag: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The body as JSON; 304 without it when the caller's If-None-Match names its ETag (default: the version it has, or
    else its digest)."""
    data = body.model_dump_json().encode()
    tag = f'"{etag}"' if etag else _tag(body, data)
    out = {"ETag": tag, "Cache-Control": "private, no-cache", **(headers or {})}
    if request.method in ("GET", "HEAD") and named(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=out)
    return Response(data, status, out, media_type="application/json")


def accepted(request: Request, body: BaseModel, location: str) -> Response:
    """202: the order is taken, and `location` tells how far it is."""
    return reply(request, body, 202, headers={"Location": location, "Retry-After": "1"})


def body_tag(data: bytes) -> str:
    """The ETag of an answer that has no version of its own."""
    return f'"{sha256_hex(data)[:32]}"'


def _tag(body: BaseModel, data: bytes) -> str:
    return f'"{body.version}"' if isinstance(body, VersionedView) else body_tag(data)


def known_already(request: Request, etag: str) -> Response | None:
    """The 304 for a caller who has this version, found before the answer is put together; None for any other."""
    if not named(request.headers.get("if-none-match"), f'"{etag}"'):
        return None
    return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"})


def if_match(request: Request, version: int) -> int | None:
    """The version an If-Match header asks for, None without one. Raises Refusal 412 if it is not the present one."""
    asked = request.headers.get("if-match")
    if asked is None or asked.strip() == "*":
        return None
    if not named(asked, f'"{version}"', weak=False):
        raise Refusal(
            412, "precondition_failed", f"the version now is {version}, the request was for {asked}; read again"
        )
    return version


def unchanged(request: Request, present: Callable[[], BaseModel]) -> None:
    """That an If-Match header, where there is one, names what GET answers now. Raises Refusal 412."""
    asked = request.headers.get("if-match")
    if asked is None:
        return
    tag = _tag(body := present(), body.model_dump_json().encode())
    if not named(asked, tag, weak=False):
        raise Refusal(412, "precondition_failed", f"it is {tag} now, the request was for {asked}; read again")


def needed_match(request: Request, version: int) -> int | None:
    """As `if_match`, for what must not be done unseen. Raises Refusal 428 without the header."""
    if request.headers.get("if-match") is None:
        raise Refusal(
            428, "precondition_required", f'say which version is meant: read it and send If-Match, now "{version}"'
        )
    return if_match(request, version)


def immutable_file(
    request: Request,
    store: Store,
    path: str,
    size: int,
    digest: str,
    *,
    name: str | None = None,
    media_type: str = "application/vnd.apache.arrow.file",
) -> Response:
    """A file named by its content: whole or one range of it, 304 when the caller has it, cached for ever. `name`: what
    it is saved as.

    Several ranges at once are answered with the whole file (RFC 9110 allows that). Raises Refusal 416.
    """
    tag = f'"{digest}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Vary": "Authorization",
        "Content-Disposition": f'attachment; filename="{name or f"{digest}.arrow"}"',
    }
    if named(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    low, high, status = 0, size, 200
    wanted = request.headers.get("range")
    if wanted is not None and request.headers.get("if-range", tag) == tag:
        found = _range(wanted, size)
        if found is not None:
            (low, high), status = found, 206
            headers["Content-Range"] = f"bytes {low}-{high - 1}/{size}"
    headers["Content-Length"] = str(high - low)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(_bytes(store, path, low, high), status, headers, media_type)


async def _bytes(store: Store, path: str, low: int, high: int) -> AsyncIterator[bytes]:
    source = await to_thread.run_sync(store.open_input, path)
    try:
        while low < high:
            chunk = await to_thread.run_sync(source.read_at, min(_CHUNK, high - low), low)
            if not chunk:
                raise OSError(f"{path} ended at {low}, {high} expected")
            low += len(chunk)
            yield bytes(chunk)
    finally:
        source.close()


def _range(header: str, size: int) -> tuple[int, int] | None:
    """[low, high) of a single `bytes=` range; None where the header is to be ignored. Raises Refusal 416."""
    unit, _, text = header.partition("=")
    first, dash, last = (part.strip() for part in text.partition("-"))
    if unit.strip().lower() != "bytes" or not dash or "," in text:
        return None
    if not (first or last) or not (first + last).isascii() or not (first + last).isdigit():
        return None
    low, high = (size - int(last), size) if not first else (int(first), int(last) + 1 if last else size)
    if low >= high and first and last:
        return None
    low, high = max(low, 0), min(high, size)
    if low >= high:
        raise Refusal(
            416, "range", f"{header} is outside the file's {size} bytes", {"Content-Range": f"bytes */{size}"}
        )
    return low, high


def named(header: str | None, tag: str, *, weak: bool = True) -> bool:
    """Whether an If-None-Match or If-Match list names the tag."""
    if header is None:
        return False
    tags = [item.strip() for item in header.split(",")]
    return "*" in tags or tag in ([item.removeprefix("W/") for item in tags] if weak else tags)

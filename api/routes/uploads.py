"""/v1/uploads: a file on its way in, in parts that may be sent again.

Parses and answers; `api/upload_files.py` moves the bytes.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Caller, Reader, Writer
from api.bodies import Body, VersionedView, View, routes_under
from api.once import create_once
from api.replies import reply, unchanged
from api.service import service_of
from api.upload_files import MAX_PART_BYTES, MIN_PART_BYTES
from curator.catalog import Upload, UploadPart, UploadState
from curator.errors import RequestError
from curator.readers import EXTENSIONS

routes = routes_under("/v1/uploads", "uploads")


_ENDINGS = f"({'|'.join(map(re.escape, EXTENSIONS))})$"


class NewUpload(Body):
    """`part_bytes`: how the caller cuts the file; by default 64 MiB, so that a smaller file is one part."""

    name: str = Field(
        min_length=1,
        max_length=255,
        description="the file's name; its extension says the format",
        json_schema_extra={"pattern": _ENDINGS},
    )
    size: int = Field(gt=0, description="bytes")
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    part_bytes: int | None = Field(default=None, ge=MIN_PART_BYTES, le=MAX_PART_BYTES)


class PartView(View):
    number: int
    size: int
    url: str
    received: bool


class UploadView(VersionedView):
    """Parts are numbered from 1. PUT each to its url, then POST `…:complete`."""

    id: str
    name: str
    size: int
    sha256: str
    part_bytes: int
    state: UploadState
    parts: tuple[PartView, ...]
    version: int
    created_at: dt.datetime


class UploadList(View):
    items: tuple[UploadView, ...]
    next_cursor: str | None


@routes.post("", status_code=201, response_model=UploadView)
def create_upload(request: Request, caller: Writer, body: NewUpload) -> Response:
    """Opens an upload and says where its parts go."""

    def make(upload_id: str) -> tuple[int, str, UploadView]:
        service = service_of(request)
        upload = service.uploads.open(
            caller.tenant,
            body.name,
            body.size,
            body.sha256,
            part_bytes=body.part_bytes,
            upload_id=upload_id,
        )
        return 201, f"/v1/uploads/{upload.id}", upload_view(upload, [])

    return create_once(request, caller, body, "upl", make)


@routes.get("", response_model=UploadList)
def list_uploads(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's uploads, newest first, without their parts."""
    page = service_of(request).catalog.uploads.page(caller.tenant, cursor=cursor, limit=limit)
    items = tuple(upload_view(upload, [], parts=False) for upload in page.items)
    return reply(request, UploadList(items=items, next_cursor=page.next_cursor))


@routes.head("/{upload_id}", include_in_schema=False)
@routes.get("/{upload_id}", response_model=UploadView)
def get_upload(request: Request, caller: Reader, upload_id: str) -> Response:
    """The upload and which parts have arrived; HEAD tells the same in Upload-Length and Upload-Received."""
    upload, parts = _found(request, caller, upload_id)
    received = upload.size_bytes if upload.state == UploadState.COMPLETE else sum(part.size_bytes for part in parts)
    headers = {"Upload-Length": str(upload.size_bytes), "Upload-Received": str(received)}
    return reply(request, upload_view(upload, parts), headers=headers)


RAW = {"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


@routes.put("/{upload_id}/parts/{number}", status_code=204, openapi_extra=RAW)
async def put_part(
    request: Request, caller: Writer, upload_id: str, number: Annotated[int, Path(ge=1, le=10_000)]
) -> Response:
    """Takes one part's raw bytes; sending it again replaces it."""
    length = request.headers.get("content-length")
    if length is not None and not length.isdecimal():
        raise RequestError(f"Content-Length {length!r} is no number")
    await service_of(request).uploads.receive(caller.tenant, upload_id, number - 1, request.stream())
    return Response(status_code=204)


@routes.post("/{upload_id}:complete", response_model=UploadView)
def complete_upload(request: Request, caller: Writer, upload_id: str) -> Response:
    """Joins the parts and checks the hash that was announced."""
    service = service_of(request)
    return reply(request, upload_view(service.uploads.complete(caller.tenant, upload_id), []))


@routes.delete("/{upload_id}", status_code=204)
def delete_upload(request: Request, caller: Writer, upload_id: str) -> Response:
    """Removes an upload and its bytes. Datasets made from it cannot be read any more; runs keep their shards."""
    unchanged(request, lambda: upload_view(*_found(request, caller, upload_id)))
    service_of(request).uploads.delete(caller.tenant, upload_id)
    return Response(status_code=204)


def upload_view(upload: Upload, arrived: list[UploadPart], *, parts: bool = True) -> UploadView:
    there = {part.number for part in arrived} if upload.state == UploadState.OPEN else set(range(upload.num_parts))
    views = tuple(
        PartView(
            number=number + 1,
            size=upload.part_size(number),
            url=f"/v1/uploads/{upload.id}/parts/{number + 1}",
            received=number in there,
        )
        for number in range(upload.num_parts if parts else 0)
    )
    return UploadView(
        id=upload.id,
        name=upload.name,
        size=upload.size_bytes,
        sha256=upload.sha256,
        part_bytes=upload.part_bytes,
        state=upload.state,
        parts=views,
        version=upload.version,
        created_at=upload.created_at,
    )


def _found(request: Request, caller: Caller, upload_id: str) -> tuple[Upload, list[UploadPart]]:
    uploads = service_of(request).catalog.uploads
    return uploads.get(caller.tenant, upload_id), uploads.parts(caller.tenant, upload_id)

"""From a server's problem+json back to the error classes both sides share.

Knows codes and statuses; nothing of requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from curator.errors import (
    ConflictError,
    DiskFullError,
    InputError,
    IntegrityError,
    LeaseLostError,
    NotFoundError,
    RecipeError,
    RequestError,
    RetryableError,
    RunFailedError,
    TransportError,
    TrustedError,
    WinnowError,
)

__all__ = ["kind_of", "raise_for"]

BY_CODE: Final[Mapping[str, type[WinnowError]]] = {
    kind.code: kind
    for kind in (
        RequestError,
        RecipeError,
        InputError,
        TrustedError,
        NotFoundError,
        ConflictError,
        IntegrityError,
        RetryableError,
        TransportError,
        LeaseLostError,
        RunFailedError,
        DiskFullError,
    )
} | {"checksum_mismatch": IntegrityError}

BY_STATUS: Final[Mapping[int, type[WinnowError]]] = {
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    428: ConflictError,
    408: RetryableError,
    429: RetryableError,
    502: TransportError,
    503: RetryableError,
    504: TransportError,
    507: DiskFullError,
}
"""For codes only HTTP knows, and for answers of a proxy in between."""


def kind_of(code: str, otherwise: type[WinnowError]) -> type[WinnowError]:
    """The class a code belongs to."""
    return BY_CODE.get(code, otherwise)


def raise_for(response: httpx.Response) -> None:
    """Nothing for success; otherwise the error the server named, with its words and the request's id."""
    if response.status_code < 400:
        return
    body = _problem(response)
    told = str(body.get("detail") or body.get("title") or response.reason_phrase)
    request_id = body.get("request_id") or response.headers.get("x-request-id")
    error = _kind(response.status_code, str(body.get("code", "")))(
        f"{told} [{response.status_code}{f', {request_id}' if request_id else ''}]"
    )
    if body.get("code"):
        error.code = str(body["code"])
    raise error


def _kind(status: int, code: str) -> type[WinnowError]:
    if code in BY_CODE:
        return BY_CODE[code]
    if code.startswith("idempotency_"):
        return ConflictError
    return BY_STATUS.get(status, RequestError if status < 500 else WinnowError)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}

"""One shape for every error the service answers with: RFC 9457 `application/problem+json`.

Knows which status each class of `curator/errors.py` has; nothing of routes. Every road into an error (a raised
WinnowError, FastAPI's validation, an unknown path, a wrong method, an unforeseen exception) ends in `problem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from curator.errors import (
    ConflictError,
    DiskFullError,
    InputError,
    IntegrityError,
    LeaseLostError,
    NotFoundError,
    QuotaError,
    RecipeError,
    RequestError,
    RetryableError,
    RunFailedError,
    SpaceQuotaError,
    StoppedError,
    TrustedError,
    WinnowError,
)

__all__ = ["Refusal", "install", "problem", "refused", "status_of"]

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2

STATUS: Final[Mapping[type[WinnowError], int]] = {
    RequestError: 400,
    RecipeError: 422,
    InputError: 422,
    TrustedError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    QuotaError: 403,
    SpaceQuotaError: 413,
    IntegrityError: 500,
    RetryableError: 503,
    LeaseLostError: 409,
    StoppedError: 409,
    RunFailedError: 500,
    DiskFullError: 507,
    WinnowError: 500,
}
"""The nearest class in an error's ancestry decides; `CODES` goes first."""

CODES: Final[Mapping[str, int]] = {"idempotency_mismatch": 422, "idempotency_in_flight": 409}
"""Codes whose status is not their class's."""


class Refusal(RequestError):
    """A refusal only HTTP knows: who may not, what is too large, which version was meant."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})


def status_of(error: WinnowError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Refusal):
        return error.status
    if error.code in CODES:
        return CODES[error.code]
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(
    scope: Mapping[str, Any],
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer: type, title, status, detail, instance, code, errors, request_id."""
    body = {
        "type": f"urn:winnow:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": scope.get("path", ""),
        "code": code,
        "errors": errors or [],
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    out = dict(headers or {})
    if status in (429, 503):
        out.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JSONResponse(body, status, headers={**out, "Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Sends every exception a route can raise down the one road; the unforeseen ones are `Guard`'s."""
    app.add_exception_handler(WinnowError, refused)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def refused(request: Request, error: Exception) -> Response:
    """What a WinnowError is told as."""
    assert isinstance(error, WinnowError)
    headers = error.headers if isinstance(error, Refusal) else None
    places = [_place(error)] if isinstance(error, InputError) and error.column else []
    return problem(request.scope, status_of(error), error.code, str(error), errors=places, headers=headers)


def _place(error: InputError) -> dict[str, Any]:
    return {"column": error.column, "row": error.row, "message": str(error)}


def _validation(request: Request, error: Exception) -> Response:
    """FastAPI's own complaints; values are not repeated, they may be a user's text."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"], "kind": item["type"]}
        for item in error.errors()
    ]
    told = "; ".join(f"{item['field']}: {item['message']}" for item in errors[:5])
    return problem(request.scope, 422, "bad_request", f"the request does not fit: {told}", errors=errors)


_TOLD: Final = {
    404: ("not_found", "there is nothing at this address; /openapi.json lists what there is"),
    405: ("method_not_allowed", "this address does not take that method; see the Allow header"),
}


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, detail = _TOLD.get(error.status_code, (_slug(error.status_code), str(error.detail)))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return problem(request.scope, error.status_code, code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """What the address takes, over all routes that share it (Starlette names the first one's methods only)."""
    fitting = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in fitting for method in getattr(route, "methods", None) or ()})


def _slug(status: int) -> str:
    if status == 413:
        return "too_large"  # Python 3.13 renamed the phrase
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")

"""The OpenAPI document: what FastAPI reads off the routes, and what all of them share, told once.

Shared are the key and its scope, the conditional headers, every refusal as a problem, and links from what was made to
where it can be asked for. Knows routes; nothing of what they do.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from api.auth import scope_of
from api.errors import MEDIA_TYPE
from api.links import link

__all__ = ["Problem", "described"]


class Problem(BaseModel):
    """Why a request was refused (RFC 9457). `code` is stable, `request_id` is in the server's log; `errors` names
    fields, or columns and rows."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[dict[str, Any]]
    request_id: str


REFUSALS: Final = {
    400: "The request cannot be read: an unknown parameter, a cursor that was not given out here, a value out of range",
    401: "No key, or one that is unknown, expired or revoked",
    403: "The key's scopes do not reach this far, or a page of another origin asked",
    404: "There is nothing of the caller's under this id",
    409: "Right request, wrong moment",
    412: "If-Match names another version than the present one",
    413: "Too large",
    416: "The range lies outside the file",
    421: "This host name is not served here",
    422: "The request does not fit: `errors` says where",
    428: "This must not be done unseen: send If-Match",
    429: "Too many requests; Retry-After says when to come back",
    500: "The server's fault; `request_id` finds it in the log",
    503: "The catalog does not answer; Retry-After says when to come back",
    507: "The server's disk is full",
}
_IF_NONE_MATCH: Final = "The ETag the caller has: 304 without a body if nothing changed"
_HEADERS: Final = {
    "If-None-Match": (_IF_NONE_MATCH, {"type": "string"}),
    "Range": ("One range of bytes", {"type": "string"}),
    "If-Match": ("The version (ETag) meant: 412 if it is not the present one", {"type": "string"}),
    "Idempotency-Key": (
        "The same key and request again, within a day, is answered as the first time",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
}
_REQUEST_ID: Final = {"X-Request-Id": {"required": True, "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}}}
_KEYS: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (wnw_…), or a token of the issuer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_EVENT: Final = {
    "type": "object",
    "description": "One server-sent event; `data` is a JSON object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
_ETAG: Final = {"ETag": {"required": True, "schema": {"type": "string"}}}


def described(app: FastAPI) -> dict[str, Any]:
    """The document of an application, put together once."""
    if app.openapi_schema is None:
        routes = [route for route in app.routes if isinstance(route, APIRoute)]
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=routes)
        document["components"]["schemas"] = {
            name: schema
            for name, schema in document["components"]["schemas"].items()
            if name not in ("HTTPValidationError", "ValidationError")
        } | {"Problem": Problem.model_json_schema()}
        document["components"]["responses"] = {f"Refused{status}": _refusal(told) for status, told in REFUSALS.items()}
        document["components"]["securitySchemes"] = _KEYS
        for route in routes:
            for method in route.methods or ():
                operation = document["paths"].get(route.path, {}).get(method.lower())
                if operation is not None:
                    document["components"]["schemas"] |= _lifted(operation)
                    _complete(operation, method, route)
        link(document["paths"])
        app.openapi_schema = document
    return app.openapi_schema


def _lifted(operation: dict[str, Any]) -> dict[str, Any]:
    """Schemas that a body written by hand brings along, taken out of it: they are looked for in the components."""
    bodies = operation.get("requestBody", {}).get("content", {}).values()
    found = [body.get("schema", {}).pop("$defs", {}) for body in bodies]
    return {name: schema for schemas in found for name, schema in schemas.items()}


def _complete(operation: dict[str, Any], method: str, route: APIRoute) -> None:
    """Adds to one operation what its kind has in common."""
    responses, scope = operation["responses"], scope_of(route)
    responses.pop("422", None)
    for response in responses.values():
        response["headers"] = dict(_REQUEST_ID)
        if "text/event-stream" in response.get("content", {}):
            response["content"]["text/event-stream"] = {"schema": _EVENT}
    if scope is not None:
        operation["security"] = [{"bearer": []}, {"header": []}]
        operation["x-scope"] = scope.value
    names = _headers(operation, method, route)
    operation.setdefault("parameters", []).extend(_header(name, required=_unseen(route, method)) for name in names)
    if not operation["parameters"]:
        del operation["parameters"]
    if "If-None-Match" in names:
        responses["304"] = {"description": "Nothing changed", "headers": {**_REQUEST_ID, **_ETAG}}
        responses["200"]["headers"] |= _ETAG
    if "Range" in names:
        responses["206"] = {**responses["200"], "description": "The range asked for"}
    for status in _refusals(operation, method, names, guarded=scope is not None):
        responses[str(status)] = {"$ref": f"#/components/responses/Refused{status}"}


def _headers(operation: dict[str, Any], method: str, route: APIRoute) -> list[str]:
    statuses = operation["responses"]
    if method == "GET":
        media = set(statuses["200"].get("content", {"application/octet-stream": {}}))
        if "application/json" in media:
            return ["If-None-Match"]
        whole = route.path.startswith(("/v1/shards", "/v1/indexes")) or route.path.endswith(("/weights", "/{name}"))
        return ["If-None-Match", "Range"] if whole else []
    makes = ":" not in route.path or route.path.endswith((":compact", ":pack"))
    if method == "POST" and ("201" in statuses or ("202" in statuses and makes)):
        return ["Idempotency-Key"]
    versioned = "202" in statuses or "/aliases/" in route.path or "/review/items/" in route.path
    return ["If-Match"] if method in ("POST", "PUT", "DELETE") and versioned else []


def _header(name: str, *, required: bool) -> dict[str, Any]:
    told, schema = _HEADERS[name]
    needed = required and name == "If-Match"
    return {"name": name, "in": "header", "required": needed, "description": told, "schema": schema}


def _refusal(told: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": told, "content": content, "headers": _REQUEST_ID}


def _unseen(route: APIRoute, method: str) -> bool:
    """Whether the route refuses to change what the caller has not seen."""
    return "/aliases/" in route.path and method != "GET"


def _refusals(operation: dict[str, Any], method: str, headers: list[str], *, guarded: bool) -> list[int]:
    """The statuses an operation of this kind can refuse with."""
    found = {400, 421, 500, 503}
    if guarded:
        found |= {401, 403, 429}
    if operation.get("parameters") or "requestBody" in operation:
        found |= {404, 422}
    if guarded:
        found |= {409}
    if method != "GET":
        found |= {403, 413, 507}
    if "If-Match" in headers:
        found |= {412, 428}
    if "Range" in headers:
        found |= {416}
    return sorted(found)

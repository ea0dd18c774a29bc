"""The door every request passes: its id, its host and origin, its size; and what leaves gets the security headers.

Knows nothing of routes or tenants. A pure ASGI middleware, so that streams pass through untouched. Whatever nobody
foresaw becomes a problem 500 here; its message stays out of the log, as it may quote a user's text.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
import uuid
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from api.traffic import Traffic
from curator.log_lines import telling
from curator.tracing import span

__all__ = ["LIMITS", "Guard"]

log: Final = logging.getLogger("winnow.api")

MIB: Final = 2**20
LIMITS: Final[tuple[tuple[re.Pattern[str], int | None], ...]] = (
    (re.compile(r"/v1/uploads/[^/]+/parts/[^/]+"), None),  # the route knows the part's announced size
    (re.compile(r"/v1/training-jobs/[^/]+/feedback"), 64 * MIB),
    (re.compile(r"/v1/runs/[^/]+/decisions:override"), 16 * MIB),
    (re.compile(r".*", re.DOTALL), MIB),
)
"""Most bytes of a request body by path; the first that fits."""

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS: Final = _SAFE | {"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"}
_PROBES: Final = frozenset({"/healthz/live", "/healthz/ready"})


class Guard:
    """Wraps the whole application. `hosts`: names (without port) that the Host header may carry."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], traffic: Traffic):
        self.app, self.hosts, self.traffic = app, frozenset(name.lower() for name in hosts), traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        shown = scope["path"].encode("unicode_escape").decode()  # a line break in it must not make a line of the log
        scope.setdefault("state", {})["request_id"] = request_id
        door = _Door(send, request_id)
        started = time.monotonic()
        about = {"http.request.method": _method(scope), "winnow.request_id": request_id}
        try:
            with (
                telling(request_id=request_id),
                self.traffic.one_more(),
                span("request", about, kind="server", parent=_traceparent(scope)) as seen,
            ):
                try:
                    await self._admit(scope, receive, door)
                finally:
                    route = _route(scope)
                    answered = {"http.route": route, "http.response.status_code": door.status or None}
                    seen.tell(answered, name=f"{_method(scope)} {route}", failed=door.status >= 500)
        except Exception as error:
            if _hung_up(error):
                log.info("%s %s: the caller hung up", request_id, shown)
                return
            log.error("%s %s: %s\n%s", request_id, shown, type(error).__name__, _frames(error))
            if door.status:
                raise  # the answer had begun; cutting the connection is all that is left
            detail = f"the server stopped on an error nobody foresaw; look for {request_id} in its log"
            await problem(scope, 500, "internal", detail)(scope, receive, door)
        finally:
            seconds = time.monotonic() - started
            route = _route(scope)
            self.traffic.count(scope["method"], route, door.status, seconds)
            fields = {"request_id": request_id, "method": scope["method"], "status": door.status, "seconds": seconds}
            line = "%s %s %s %d %.3f s", request_id, scope["method"], shown, door.status, seconds
            log.info(*line, extra={"fields": {**fields, "route": route}})

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if scope["path"] not in _PROBES and _hostname(host) not in self.hosts:
            detail = f"host {host!r} is not served here; add it to WINNOW_ALLOWED_HOSTS if it should be"
            await problem(scope, 421, "wrong_host", detail)(scope, receive, send)
        elif "\0" in scope["path"]:
            await problem(scope, 404, "not_found", "an address has no NUL character")(scope, receive, send)
        elif b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
            await problem(scope, 400, "bad_request", "a query has no NUL character")(scope, receive, send)
        elif scope["method"] not in _SAFE and _foreign(headers, host):
            detail = "a page of another origin sent this; only this server's own pages and programs may change things"
            await problem(scope, 403, "cross_origin", detail)(scope, receive, send)
        else:
            limit = next(limit for pattern, limit in LIMITS if pattern.fullmatch(scope["path"]))
            if limit is not None:
                if _length(headers) > limit:
                    detail = f"the body has {_length(headers)} bytes, at most {limit} are taken here"
                    await problem(scope, 413, "too_large", detail)(scope, receive, send)
                    return
                receive = _capped(receive, limit)
            await self.app(scope, receive, send)


def _route(scope: Scope) -> str:
    """The template of the address asked for; "(none)" for one that nobody serves."""
    return str(getattr(scope.get("route"), "path", "(none)"))


def _method(scope: Scope) -> str:
    """The request's method, if it is one of HTTP's: a span's words are not the caller's to choose."""
    return scope["method"] if scope["method"] in _METHODS else "_OTHER"


def _traceparent(scope: Scope) -> str | None:
    """The trace the caller is in, if it says so."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)


def _hung_up(error: BaseException) -> bool:
    """Whether nobody is listening any more; an event stream's tasks say so each in its own words."""
    if isinstance(error, BaseExceptionGroup):
        return all(_hung_up(inner) for inner in error.exceptions)
    return isinstance(error, ClientDisconnect | anyio.BrokenResourceError)


def _frames(error: BaseException) -> str:
    """Where it happened, without the message and without the framework's own dozen frames."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames[:-1] if "site-packages" not in frame.filename]
    return "".join(traceback.format_list([*own, *frames[-1:]]))


class _Door:
    """`send` that adds the headers of every answer and remembers its status (0: none yet)."""

    def __init__(self, send: Send, request_id: str):
        self.send, self.request_id, self.status = send, request_id, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": _with_security(message.get("headers", ()), self.request_id)}
        await self.send(message)


def _with_security(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    own = list(headers)
    named = {name.lower() for name, _ in own}
    more = [*HEADERS, (b"x-request-id", request_id.encode()), (b"cache-control", b"no-store")]
    return own + [(name, value) for name, value in more if name not in named]


def _hostname(host: str) -> str:
    """The name in a Host header, without port, lower case; "" if there is none in it."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _foreign(headers: dict[str, str], host: str) -> bool:
    """Whether a browser says that the request comes from a page of another origin. Programs send neither header."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def _capped(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def capped() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, f"the body is longer than the {limit} bytes taken here")
        return message

    return capped

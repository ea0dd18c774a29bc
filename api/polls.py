"""What is polled of runs, answered before the routes are asked: one look at row versions for all who wait for it.

    GET /v1/runs            changes with the tenant's newest event
    GET /v1/runs/{run_id}   changes with the row's version; so do /metrics and /errors

A poll waits for a look that begins after it came, so what it is told is never older than the question; however many
wait, one look is under way. A body is made once for each version and kept as bytes. Whatever is not a plain poll of
something the caller may read is left to the routes.

Knows ASGI, who the caller is and how run views are written; nothing of how runs change.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import Caller, asks_issuer, caller_of
from api.errors import Refusal, refused
from api.replies import named
from api.run_views import PARTS, list_body, run_body
from api.service import Service
from curator.catalog import Scope as KeyScope
from curator.errors import WinnowError

__all__ = ["Polls"]

_PATH: Final = re.compile(r"/v1/runs(?:/(run_[0-9a-f]+)(?:/(metrics|errors))?)?")
_LIST_QUERY: Final = re.compile(rb"(?:limit=([1-9][0-9]{0,2}))?")
_LOOK_EVERY_S: Final = 0.01
_KNOWN_FOR_S: Final = 60.0
_KEY_IDS: Final = "key_"
_MOST_KEPT: Final = 4096
_MOST_BYTES: Final = 64 * 2**20
_DEFAULT_LIMIT: Final = 100


@dataclass(frozen=True)
class _Poll:
    """What is asked: a part of a run, or a list of so many runs."""

    part: str
    run: str | None = None
    limit: int = 0


@dataclass(frozen=True)
class _Seen:
    """Whose it is that was asked for, and the version it has."""

    tenant: str
    version: int


_Answer = _Seen | Refusal | None


class Polls:
    """Stands before the routes, behind the guard."""

    def __init__(self, app: ASGIApp, service: Service, routes: Callable[[str], object]):
        self.app, self._service, self._route_of = app, service, routes
        self._looks = _Looks(service)
        self._bodies: OrderedDict[tuple[str, _Poll], tuple[str, bytes, int]] = OrderedDict()
        self._held_bytes = 0
        self._making: dict[tuple[str, _Poll, int], asyncio.Task[tuple[str, bytes, int]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        poll = _poll_of(scope)
        answered = poll is not None and await self._answer(poll, scope, receive, send)
        if not answered:
            await self.app(scope, receive, send)

    async def _answer(self, poll: _Poll, scope: Scope, receive: Receive, send: Send) -> bool:
        """False, and nothing sent, where the routes must answer."""
        seen = await self._looks.at(scope, poll)
        if seen is None:
            return False
        scope["route"] = self._route_of(poll.part)
        if isinstance(seen, Refusal):
            await refused(Request(scope), seen)(scope, receive, send)
            return True
        known = _header(scope, b"if-none-match")
        if poll.run is not None and named(known, f'"{seen.version}"'):
            await _send(send, 304, f'"{seen.version}"', b"")
            return True
        try:
            tag, body, _ = await self._body(seen, poll)
        except WinnowError:
            return False
        unchanged = named(known, tag)
        await _send(send, 304 if unchanged else 200, tag, b"" if unchanged else body)
        return True

    async def _body(self, seen: _Seen, poll: _Poll) -> tuple[str, bytes, int]:
        """(ETag, JSON, version) at least as new as what was seen; made once, whoever waits for it."""
        place = (seen.tenant, poll)
        kept = self._bodies.get(place)
        if kept is not None and kept[2] >= seen.version:
            self._bodies.move_to_end(place)
            return kept
        key = (*place, seen.version)
        if key not in self._making:
            self._making[key] = asyncio.create_task(self._make(seen, poll))
            self._making[key].add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(self._making[key])

    async def _make(self, seen: _Seen, poll: _Poll) -> tuple[str, bytes, int]:
        made = await to_thread.run_sync(_made, self._service, seen, poll)
        self._keep((seen.tenant, poll), made)
        return made

    def _keep(self, place: tuple[str, _Poll], made: tuple[str, bytes, int]) -> None:
        """Bounded in number and in bytes; those asked for least lately go."""
        before = self._bodies.pop(place, None)
        self._bodies[place] = made
        self._held_bytes += len(made[1]) - (len(before[1]) if before else 0)
        while len(self._bodies) > _MOST_KEPT or self._held_bytes > _MOST_BYTES:
            self._held_bytes -= len(self._bodies.popitem(last=False)[1][1])


class _Looks:
    """Looks at versions, one at a time, each for all who asked before it began."""

    def __init__(self, service: Service):
        self._service = service
        self._waiting: dict[tuple[Hashable, str | None], tuple[Request, asyncio.Future[_Answer]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._limiter: CapacityLimiter | None = None
        self._known = _Known(service)

    async def at(self, scope: Scope, poll: _Poll) -> _Answer:
        """None: no such run, or not for this caller. A Refusal: no caller at all."""
        key = (_credential(scope), poll.run)
        if key not in self._waiting:
            self._waiting[key] = (Request(scope), asyncio.get_running_loop().create_future())
        future = self._waiting[key][1]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(future)

    async def _look(self) -> None:
        self._limiter = self._limiter or CapacityLimiter(1)  # a queue of slow requests must not hold polls up
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                found = await to_thread.run_sync(self._seen, asked, limiter=self._limiter)
            except Exception:  # whatever it is, the routes meet it too, and say so
                found = {}
            for key, (_, future) in asked.items():
                if not future.done():
                    future.set_result(found.get(key))
            await asyncio.sleep(_LOOK_EVERY_S)

    def _seen(
        self, asked: dict[tuple[Hashable, str | None], tuple[Request, asyncio.Future[_Answer]]]
    ) -> dict[tuple[Hashable, str | None], _Answer]:
        catalog = self._service.catalog
        callers = self._known.of({credential: request for (credential, _), (request, _) in asked.items()})
        versions = catalog.runs.versions({run for _, run in asked if run is not None})
        newest: dict[str, int] = {}
        seen: dict[tuple[Hashable, str | None], _Answer] = {}
        for credential, run in asked:
            caller = callers[credential]
            if not isinstance(caller, Caller):
                seen[credential, run] = caller
                continue
            if run is not None:
                tenant, version = versions.get(run, ("", 0))
                if tenant == caller.tenant:
                    seen[credential, run] = _Seen(tenant, version)
                continue
            if caller.tenant not in newest:
                newest[caller.tenant] = catalog.events.latest(caller.tenant)
            seen[credential, run] = _Seen(caller.tenant, newest[caller.tenant])
        return seen


class _Known:
    """Who was let in by a key in the last minute need not be looked up by the secret again, only whether the key still
    opens: one question for all."""

    def __init__(self, service: Service):
        self._service = service
        self._callers: OrderedDict[Hashable, tuple[Caller, float]] = OrderedDict()

    def of(self, requests: dict[Hashable, Request]) -> dict[Hashable, Caller | Refusal | None]:
        """None: a caller who may not read, or whose token's issuer others should not wait for."""
        fresh_after = time.monotonic() - _KNOWN_FOR_S
        known = {
            credential: self._callers[credential][0]
            for credential in requests
            if credential in self._callers and self._callers[credential][1] > fresh_after
        }
        valid = self._service.catalog.keys.still_open({caller.name for caller in known.values()}) if known else set()
        return {
            credential: self._again(known[credential])
            if credential in known and known[credential].name in valid
            else self._anew(credential, request)
            for credential, request in requests.items()
        }

    def _again(self, caller: Caller) -> Caller | Refusal:
        try:
            self._service.requests.spend(caller.name)
            self._service.allowances.spend_request(caller.tenant)
        except Refusal as refusal:
            return refusal
        return caller

    def _anew(self, credential: Hashable, request: Request) -> Caller | Refusal | None:
        self._callers.pop(credential, None)
        try:
            if asks_issuer(request):
                return None
            caller = caller_of(request)
        except Refusal as refusal:
            return refusal
        if not caller.allows(KeyScope.READ):
            return None
        if caller.name.startswith(_KEY_IDS):
            self._callers[credential] = caller, time.monotonic()
            while len(self._callers) > _MOST_KEPT:
                self._callers.popitem(last=False)
        return caller


def install(app: FastAPI, service: Service) -> None:
    """Puts polls before the application's routes."""
    found = {str(getattr(route, "path", "")): route for route in app.routes if "GET" in getattr(route, "methods", ())}
    routes = {"list": found["/v1/runs"], "run": found["/v1/runs/{run_id}"]}
    routes |= {part: found[f"/v1/runs/{{run_id}}/{part}"] for part in PARTS if part != "run"}
    app.add_middleware(Polls, service=service, routes=routes.__getitem__)


def _poll_of(scope: Scope) -> _Poll | None:
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    found = _PATH.fullmatch(scope["path"])
    if found is None:
        return None
    if found[1] is not None:
        return None if scope["query_string"] else _Poll(found[2] or "run", found[1])
    asked = _LIST_QUERY.fullmatch(scope["query_string"])
    return None if asked is None else _Poll("list", limit=int(asked[1] or _DEFAULT_LIMIT))


def _made(service: Service, seen: _Seen, poll: _Poll) -> tuple[str, bytes, int]:
    if poll.run is None:
        tag, body = list_body(service, seen.tenant, limit=poll.limit)
        return tag, body, seen.version
    run = service.catalog.runs.get(seen.tenant, poll.run)
    return f'"{run.version}"', run_body(service, run, poll.part), run.version


def _credential(scope: Scope) -> Hashable:
    """All of a request that says who sends it: its address and headers, but for what it knows already."""
    headers = tuple(pair for pair in scope["headers"] if pair[0] != b"if-none-match")
    return (scope["client"] or ("",))[0], headers


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def _send(send: Send, status: int, tag: str, body: bytes) -> None:
    headers = [(b"etag", tag.encode()), (b"cache-control", b"private, no-cache")]
    if status != 304:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""What request bodies have in common, and the query that must hold no unknown names.

Knows pydantic and FastAPI's routes; nothing of resources.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api.errors import Refusal, status_of
from api.trail import is_audited, is_noted_refused, note
from curator.errors import RequestError, WinnowError

__all__ = ["Body", "Note", "VersionedView", "View", "routes_under"]

Note = Annotated[str, Field(max_length=1000)]
"""A person's words for the trail."""


class Body(BaseModel):
    """A request body: a field it does not have is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class View(BaseModel):
    """A part of an answer. Moments are UTC, RFC 3339."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionedView(View):
    """One whose ETag is its row's version."""

    if TYPE_CHECKING:
        version: int


def routes_under(prefix: str, tag: str) -> APIRouter:
    """The routes of one resource."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        dependencies=[Depends(only_known_parameters)],
        route_class=Route,
        generate_unique_id_function=lambda route: route.name,  # what a generated client calls its methods
    )


class Route(APIRoute):
    """A route whose parameters hold no colon: `/runs/{run_id}` is not the address `/runs/run_1:cancel`, so a wrong
    method there is 405 and not an id that does not exist."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        values = child.get("path_params", {}).values()
        return (Match.NONE, {}) if any(":" in str(value) for value in values) else (match, child)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle, audited = super().get_route_handler(), is_audited(self)

        async def checked(request: Request) -> Response:
            if self.body_field is not None and _SUSPECT.search(await request.body()):
                require_storable(await request.body())
            try:
                answer = await handle(request)
            except WinnowError as error:
                if is_noted_refused(request, self, status_of(error)):
                    await to_thread.run_sync(note, request, self, status_of(error))
                raise
            if audited and answer.status_code < 400:
                await to_thread.run_sync(note, request, self, answer.status_code, answer.headers.get("location"))
            return answer

        return checked


_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SUSPECT: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|\x00")


def require_storable(body: bytes) -> None:
    """JSON can spell characters that no database and no UTF-8 file can hold. Raises Refusal 422 for a NUL or half a
    surrogate pair anywhere in a string."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(422, "bad_request", "a string in the body has half a surrogate pair; leave it out") from error
    except (ValueError, RecursionError):
        return  # no JSON at all: FastAPI says so in its own words
    if _NUL.search(text):
        raise Refusal(422, "bad_request", "a string in the body has a NUL character; leave it out")


def only_known_parameters(request: Request) -> None:
    """A misspelt filter must not answer with everything. Raises RequestError naming the parameter."""
    known = sorted(_names(request.scope["route"].dependant))
    for name in request.query_params:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known) or 'none'}."
            raise RequestError(f"unknown query parameter {name!r}; {hint}")


def _names(dependant: Any) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(inner) for inner in dependant.dependencies))

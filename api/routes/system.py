"""Health, version, Prometheus metrics and the dashboard's files: what is not a tenant's.

Parses and answers; knows whether the catalog and the runner are there.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal

from fastapi import Path, Request
from starlette.responses import PlainTextResponse, Response

from api.auth import Operator
from api.bodies import View, routes_under
from api.errors import problem
from api.measures import gathered
from api.neighbours import RayState
from api.replies import reply
from api.service import service_of
from curator.digest import sha256_hex
from curator.errors import WinnowError
from curator.version import software_version

routes = routes_under("", "system")

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGES = {
    entry.name: entry.read_bytes()
    for entry in files("api.dashboard").iterdir()
    if any(entry.name.endswith(suffix) for suffix in _TYPES)
}


class Health(View):
    """`degraded`: reads and shard pulls go on, but nobody works on queued runs, or not on those for Ray."""

    status: Literal["ok", "degraded"]
    catalog: Literal["ok"]
    runner: Literal["alive", "stopped", "elsewhere"]
    ray: RayState


class Alive(View):
    status: Literal["ok"] = "ok"


class Version(View):
    name: str = "winnow"
    version: str
    api: str = "v1"


@routes.head("/healthz/live", include_in_schema=False)
@routes.get("/healthz/live", response_model=Alive)
def live(request: Request) -> Response:
    """The process answers."""
    return reply(request, Alive())


@routes.head("/healthz/ready", include_in_schema=False)
@routes.get("/healthz/ready", response_model=Health)
def ready(request: Request) -> Response:
    """The catalog answers; 503 if it does not. A stopped runner makes the service degraded, not unready."""
    service = service_of(request)
    try:
        service.catalog.database.clock()
    except WinnowError as error:
        return problem(request.scope, 503, error.code, "the catalog does not answer; see the server's log")
    alive = None if service.runner_alive is None else service.runner_alive()
    runner: Literal["alive", "stopped", "elsewhere"] = "elsewhere" if alive is None else "alive" if alive else "stopped"
    ray = service.ray.state()
    degraded = alive is False or ray == "away"
    return reply(request, Health(status="degraded" if degraded else "ok", catalog="ok", runner=runner, ray=ray))


@routes.get("/version", response_model=Version)
def get_version(request: Request) -> Response:
    """Which Winnow this is."""
    return reply(request, Version(version=software_version()))


@routes.get("/metrics", response_class=PlainTextResponse)
def get_prometheus(request: Request, caller: Operator) -> Response:
    """Prometheus text format, of all tenants: for the operator. No ids in labels."""
    return Response(gathered(service_of(request)), media_type="text/plain; version=0.0.4")


@routes.get("/", include_in_schema=False)
def dashboard(request: Request) -> Response:
    """The dashboard's page."""
    return _page(request, "index.html")


@routes.get("/dashboard/{name}", include_in_schema=False)
def dashboard_file(request: Request, name: Annotated[str, Path(max_length=64)]) -> Response:
    """A file of the dashboard."""
    return _page(request, name)


def _page(request: Request, name: str) -> Response:
    data = _PAGES.get(name)
    if data is None:
        return problem(request.scope, 404, "not_found", f"the dashboard has no file {name!r}")
    tag = f'"{sha256_hex(data)[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    suffix = name[name.rindex(".") :]
    return Response(data, headers=headers, media_type=_TYPES[suffix])

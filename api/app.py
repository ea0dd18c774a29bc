"""The REST counter as an ASGI application: every resource's routes behind one guard, with one shape of error.

Knows which routes there are; each file in `routes/` knows what they do. Loads neither torch nor Ray: a health check
is answered in a second.

    uvicorn api.app:app          settings from the environment
    create_app(settings)         the same with settings of one's own
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api import errors, polls
from api.auth import local_access
from api.description import described
from api.guard import Guard
from api.routes import (
    aliases,
    audit,
    datasets,
    decisions,
    epoch_plans,
    exports,
    keys,
    leases,
    manifests,
    operations,
    policies,
    recipes,
    review,
    rewrites,
    runs,
    shards,
    storage,
    system,
    training_jobs,
    uploads,
    webhooks,
)
from api.service import Service
from curator.settings import Settings
from curator.tracing import tracing

__all__ = ["create_app", "keep_loaded"]

RESOURCES = (
    uploads,
    datasets,
    recipes,
    decisions,
    runs,
    review,
    policies,
    manifests,
    aliases,
    shards,
    epoch_plans,
    leases,
    rewrites,
    training_jobs,
    exports,
    operations,
    keys,
    audit,
    webhooks,
    storage,
    system,
)


OWN_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's spans and logs would hold paths, queries and what was wrong with a body, in the caller's words; ours do not
(`curator/tracing.py`)."""


def create_app(
    settings: Settings, *, require_key: bool | None = None, runner_alive: Callable[[], bool] | None = None
) -> FastAPI:
    """The application over the catalog and the root that `settings` name.

    require_key: whether callers on this machine need a key too; by default they do unless the server listens on
    loopback under no other name. runner_alive: asked by the readiness check, where a runner is supervised. Raises
    RequestError or TransportError when catalog or root cannot be opened.
    """
    traces = ExitStack()
    traces.enter_context(tracing(settings, "winnow-server"))
    local = local_access(settings) and not require_key
    service = Service.open(settings, local_access=local, runner_alive=runner_alive)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()
        traces.close()

    app = FastAPI(
        title="Winnow",
        description="Turns a raw training set into a better one, and proves it.",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # an address is spelt one way; a redirect would lose a body or a credential
        telemetry=OWN_TELEMETRY,
        lifespan=lifespan,
    )
    app.state.service = service
    for resource in RESOURCES:
        app.router.routes.extend(resource.routes.routes)  # one flat list: app.routes says every road there is
    errors.install(app)
    app.openapi = partial(described, app)  # type: ignore[method-assign]
    hosts = {"localhost", "127.0.0.1", "::1", settings.host.strip("[]"), *settings.allowed_hosts}
    polls.install(app, service)
    app.add_middleware(Guard, hosts=hosts, traffic=service.traffic)
    return app


def keep_loaded() -> None:
    """What a server's process has loaded stays: to look through it for garbage again and again would hold every answer
    up for tens of milliseconds."""
    gc.collect()
    gc.freeze()


def __getattr__(name: str) -> Any:
    """`app`, made when a server asks for it, so that importing this module opens nothing."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = app = create_app(Settings.from_environment())
    keep_loaded()
    return app

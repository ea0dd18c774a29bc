"""/v1/runs: asking for a run, watching it, stopping it and going on with it.

Parses and answers; the catalog owns the state, the runner does the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Caller, Reader, Writer
from api.bodies import Body, View, routes_under
from api.errors import Refusal
from api.event_stream import EventStream, run_events, sequence_of
from api.once import create_once
from api.replies import accepted, if_match, reply
from api.run_views import RunErrors, RunList, RunMetrics, RunView, metrics_view, run_errors, run_list, run_view
from api.service import service_of
from api.submission import submit
from curator.catalog import Run, Scope
from curator.run import RunState

routes = routes_under("/v1/runs", "runs")

State = Literal[
    "queued", "validating", "running", "finalizing", "succeeded", "failed",
    "cancelling", "cancelled", "pausing", "paused", "lost",
]  # fmt: skip


class NewRun(Body):
    """`dataset_version`: by default the newest that is ready. `recipe`: a preset's name, a kept recipe's id or a whole
    recipe. `trusted`: an upload or a dataset. `feedback`: training jobs whose losses a learned policy is to see. `seed`
    overrides the recipe's. `priority`: higher ones are worked on first; above 0 needs an admin key."""

    dataset: str
    dataset_version: int | None = Field(default=None, ge=1, lt=2**63)
    recipe: str | dict[str, Any]
    trusted: str | None = None
    feedback: tuple[str, ...] = Field(default=(), max_length=100)
    engine: Literal["inline", "ray"] = "inline"
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    priority: int = Field(default=0, ge=-100, le=100)


@routes.post("", status_code=202, response_model=RunView)
def create_run(request: Request, caller: Writer, body: NewRun) -> Response:
    """Queues a run; the Location is where to watch it."""
    service = service_of(request)
    if body.priority > 0 and not caller.allows(Scope.ADMIN):
        raise Refusal(403, "forbidden", f"priority {body.priority} goes before other people's runs: an admin key may")

    def make(run_id: str) -> tuple[int, str, RunView]:
        service.allowances.require_some_room(caller.tenant)
        run = submit(service, caller.tenant, run_id, by=caller.name, **dict(body))
        return 202, f"/v1/runs/{run.id}", run_view(run, service.store)

    return create_once(request, caller, body, "run", make)


@routes.get("", response_model=RunList)
def list_runs(
    request: Request,
    caller: Reader,
    state: Annotated[list[State] | None, Query()] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The tenant's runs, newest first."""
    states = None if state is None else [RunState(name) for name in state]
    return reply(request, run_list(service_of(request), caller.tenant, cursor=cursor, limit=limit, states=states))


@routes.get("/{run_id}", response_model=RunView)
def get_run(request: Request, caller: Reader, run_id: str) -> Response:
    """Where a run stands; its ETag is the row's version."""
    run = _run(request, caller, run_id)
    return reply(request, run_view(run, service_of(request).store))


@routes.get("/{run_id}/metrics", response_model=RunMetrics)
def get_run_metrics(request: Request, caller: Reader, run_id: str) -> Response:
    """Counts by action, reason and difficulty, seconds by phase, the policy's scorecard."""
    run = _run(request, caller, run_id)
    return reply(request, metrics_view(run, service_of(request).store), etag=str(run.version))


@routes.get("/{run_id}/errors", response_model=RunErrors)
def get_run_errors(request: Request, caller: Reader, run_id: str) -> Response:
    """Every failure and lost attempt."""
    service, run = service_of(request), _run(request, caller, run_id)
    history = service.catalog.runs.history(caller.tenant, run_id)
    return reply(request, run_errors(run, history, service.store), etag=str(run.version))


def watched(request: Request, caller: Reader, run_id: str) -> Iterator[int]:
    """The event to go on after, while the stream is open. Refuses before the answer begins: afterwards it is too late
    for a problem."""
    _run(request, caller, run_id)
    after = sequence_of(request.headers.get("last-event-id"))
    with service_of(request).allowances.stream(caller.tenant):
        yield after


@routes.get("/{run_id}/events", status_code=200, response_class=EventStream)
async def stream_events(
    request: Request, caller: Reader, run_id: str, after: Annotated[int, Depends(watched)]
) -> EventStream:
    """What happened to the run, then what happens, until it ends; Last-Event-ID goes on after that event."""
    return EventStream(run_events(service_of(request), caller, run_id, after))


@routes.post("/{run_id}:cancel", status_code=202, response_model=RunView)
def cancel_run(request: Request, caller: Writer, run_id: str) -> Response:
    """Stops a run for good; what it committed stays."""
    version = if_match(request, _run(request, caller, run_id).version)
    run = service_of(request).catalog.runs.request_stop(caller.tenant, run_id, "cancel", version=version)
    return _accepted(request, run)


@routes.post("/{run_id}:pause", status_code=202, response_model=RunView)
def pause_run(request: Request, caller: Writer, run_id: str) -> Response:
    """Stops a run between two work units; `:resume` goes on from there."""
    version = if_match(request, _run(request, caller, run_id).version)
    run = service_of(request).catalog.runs.request_stop(caller.tenant, run_id, "pause", version=version)
    return _accepted(request, run)


@routes.post("/{run_id}:resume", status_code=202, response_model=RunView)
def resume_run(request: Request, caller: Writer, run_id: str) -> Response:
    """Puts a paused or failed run back in the queue; nothing committed is done again."""
    version = if_match(request, _run(request, caller, run_id).version)
    return _accepted(request, service_of(request).catalog.runs.resume(caller.tenant, run_id, version=version))


@routes.post("/{run_id}:retry", status_code=202, response_model=RunView)
def retry_run(request: Request, caller: Writer, run_id: str) -> Response:
    """Puts a failed run back in the queue to start from nothing."""
    version = if_match(request, _run(request, caller, run_id).version)
    return _accepted(request, service_of(request).catalog.runs.retry(caller.tenant, run_id, version=version))


class Deletion(View):
    """What goes with a run: its folder, and manifests that no other run made. `held_by`: who needs them; while there is
    anybody, the run is not deleted. `purged_after_s`: how long after its deletion its bytes go."""

    run: str
    manifests: tuple[str, ...]
    bytes: int
    held_by: tuple[str, ...]
    purged_after_s: float


@routes.get("/{run_id}/deletion", response_model=Deletion)
def preview_deletion(request: Request, caller: Reader, run_id: str) -> Response:
    """What would go with the run, and who holds it; nothing is changed."""
    return reply(request, _deletion(request, caller, _run(request, caller, run_id).id))


@routes.delete("/{run_id}", status_code=202, response_model=Deletion)
def delete_run(request: Request, caller: Writer, run_id: str) -> Response:
    """Hides a run that has ended, with its manifests; after a grace its bytes are purged. 409 names who holds it."""
    version = if_match(request, _run(request, caller, run_id).version)
    told = _deletion(request, caller, run_id)
    service_of(request).catalog.purging.delete_run(caller.tenant, run_id, version=version)
    return reply(request, told, 202)


def _deletion(request: Request, caller: Caller, run_id: str) -> Deletion:
    service = service_of(request)
    purging = service.catalog.purging
    return Deletion(
        run=run_id,
        manifests=tuple(purging.manifests_of(caller.tenant, run_id)),
        bytes=sum(service.store.sizes(f"runs/{run_id}").values()),
        held_by=tuple(purging.holders(caller.tenant, run_id)),
        purged_after_s=service.settings.retention_deleted_days * 86_400.0,
    )


def _run(request: Request, caller: Caller, run_id: str) -> Run:
    return service_of(request).catalog.runs.get(caller.tenant, run_id)


def _accepted(request: Request, run: Run) -> Response:
    view = run_view(run, service_of(request).store)
    return accepted(request, view, f"/v1/runs/{run.id}")

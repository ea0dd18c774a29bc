"""/v1/epoch-plans: in which order an epoch's rows are trained on, as a formula anyone can evaluate.

Parses and answers; `curator.epochs` holds the formula.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Feeder, Reader, Writer
from api.blocks import Blocks, blocks
from api.bodies import Body, View, routes_under
from api.manifest_shelf import known_manifest
from api.once import create_once
from api.plan_shelf import begin, journal_of, known_plan, report
from api.replies import reply, unchanged
from api.service import Service, service_of
from curator.catalog import PlanRow
from curator.client.simulation import Simulation, simulate
from curator.epochs.adaptive import Losses
from curator.epochs.journal import Journal
from curator.epochs.plan import EpochPlan
from curator.errors import RequestError

routes = routes_under("/v1/epoch-plans", "epoch-plans")

SIMULATED_ROWS = 5_000_000
"""Of a rank's epoch: some seconds of work."""


class NewPlan(Body):
    """`curriculum`: staged, constant, linear or adaptive, or one with parameters ({"kind": …}). `epoch_size`: null for
    the largest that repeats no row."""

    manifest: str
    curriculum: str | dict[str, Any] = "staged"
    num_epochs: int = Field(default=10, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0, lt=2**63)
    global_batch_size: int = Field(default=64, ge=1, le=1_000_000)
    epoch_size: int | None = Field(default=None, ge=1)
    shuffle: Literal["full", "window", "none"] = "window"
    tail: Literal["drop", "pad", "short"] = "drop"


class PlanView(View):
    """`digest` names the order itself: equal plans of any tenant have the same."""

    id: str
    digest: str
    manifest: str
    plan: dict[str, Any]
    created_at: dt.datetime


class PlanList(View):
    items: tuple[PlanView, ...]
    next_cursor: str | None


class EpochView(View):
    """The curriculum's mix and what it comes to in rows."""

    plan: str
    epoch: int
    ratios: dict[str, float]
    rows: dict[str, int]
    num_positions: int
    num_batches: int


class Trial(Body):
    """`bytes_per_s` from the origin, `rows_per_s` that the rank's training takes. `cache_limit_bytes`: of the client's
    cache, null for no limit, 0 for none."""

    epoch: int = Field(default=0, ge=0, lt=2**31, strict=True)
    bytes_per_s: float = Field(ge=1, le=1e15, strict=True)
    rows_per_s: float = Field(ge=0.001, le=1e12, strict=True)
    cache_limit_bytes: int | None = Field(default=None, ge=0, strict=True)
    rank: int = Field(default=0, ge=0, strict=True)
    world_size: int = Field(default=1, ge=1, strict=True)


@routes.post("", status_code=201, response_model=PlanView)
def create_plan(request: Request, caller: Writer, body: NewPlan) -> Response:
    """A plan of a manifest; the same request gives the same plan."""
    service = service_of(request)

    def make(_: str) -> tuple[int, str, PlanView]:
        manifest = known_manifest(service, caller.tenant, body.manifest)
        plan = EpochPlan.of(manifest, **body.model_dump(exclude={"manifest"}))
        row = begin(service, caller.tenant, manifest.id, plan)
        return 201, f"/v1/epoch-plans/{row.id}", _view(row)

    return create_once(request, caller, body, "epl", make)


@routes.get("", response_model=PlanList)
def list_plans(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's plans, newest first."""
    page = service_of(request).catalog.plans.page(caller.tenant, cursor=cursor, limit=limit)
    return reply(request, PlanList(items=tuple(map(_view, page.items)), next_cursor=page.next_cursor))


@routes.get("/{plan_id}", response_model=PlanView)
def get_plan(request: Request, caller: Reader, plan_id: str) -> Response:
    """The plan by its id or its digest: everything an epoch's order depends on, ratios decided so far included."""
    return reply(request, _decided(service_of(request), caller.tenant, plan_id))


@routes.delete("/{plan_id}", status_code=204)
def delete_plan(request: Request, caller: Writer, plan_id: str) -> Response:
    """Forgets a plan and who read it; 409 names the jobs that need it. An equal plan may be made again."""
    service = service_of(request)
    unchanged(request, lambda: _decided(service, caller.tenant, plan_id))
    service.catalog.purging.forget_plan(caller.tenant, plan_id)
    return Response(status_code=204)


@routes.get("/{plan_id}/epochs/{epoch}", response_model=EpochView)
def get_epoch(request: Request, caller: Reader, plan_id: str, epoch: int) -> Response:
    """One epoch's mix and length."""
    _, plan = known_plan(service_of(request), caller.tenant, plan_id)
    easy, medium, hard = plan.quotas(epoch)
    view = EpochView(
        plan=plan.id,
        epoch=epoch,
        ratios=plan.ratios(epoch)._asdict(),
        rows={"easy": easy, "medium": medium, "hard": hard},
        num_positions=plan.num_positions(epoch),
        num_batches=plan.num_batches(epoch),
    )
    return reply(request, view)


@routes.get("/{plan_id}/epochs/{epoch}/blocks", response_model=Blocks)
def get_blocks(
    request: Request,
    caller: Reader,
    plan_id: str,
    epoch: int,
    rank: Annotated[int, Query(ge=0)] = 0,
    world_size: Annotated[int, Query(ge=1)] = 1,
    start: Annotated[int, Query(ge=0, alias="from")] = 0,
    limit: Annotated[int, Query(ge=1, le=65_536)] = 4096,
) -> Response:
    """Where a rank's next rows lie: shard and row for each position."""
    service = service_of(request)
    row, plan = known_plan(service, caller.tenant, plan_id)
    manifest = known_manifest(service, caller.tenant, row.manifest)
    found = blocks(
        plan,
        manifest,
        service.reader,
        epoch=epoch,
        rank=rank,
        world_size=world_size,
        start=start,
        limit=limit,
    )
    return reply(request, found)


@routes.post("/{plan_id}:simulate", response_model=Simulation)
def simulate_plan(request: Request, caller: Reader, plan_id: str, body: Trial) -> Response:
    """One rank's epoch on an empty cache, before it is run: fetches, bytes, stalls. No row is read."""
    service = service_of(request)
    row, plan = known_plan(service, caller.tenant, plan_id)
    rows = plan.num_positions(body.epoch) // body.world_size
    if rows > SIMULATED_ROWS:
        raise RequestError(
            f"a rank's epoch of {rows} rows is more than the {SIMULATED_ROWS} simulated here; call "
            "curator.client.simulation.simulate where you are"
        )
    manifest = known_manifest(service, caller.tenant, row.manifest)
    return reply(request, simulate(plan, manifest, **body.model_dump()))


@routes.get("/{plan_id}/journal", response_model=Journal)
def get_journal(request: Request, caller: Reader, plan_id: str) -> Response:
    """The epochs of an adaptive plan decided so far, and the reports they follow from."""
    return reply(request, journal_of(service_of(request), caller.tenant, plan_id))


@routes.post("/{plan_id}/epochs/{epoch}/losses", response_model=Journal)
def post_losses(request: Request, caller: Feeder, plan_id: str, epoch: int, body: Losses) -> Response:
    """What an epoch of an adaptive plan came to, by difficulty: the next epoch's ratios follow."""
    return reply(request, report(service_of(request), caller.tenant, plan_id, epoch, body))


def _view(row: PlanRow) -> PlanView:
    return PlanView(id=row.id, digest=row.digest, manifest=row.manifest, plan=row.plan, created_at=row.created_at)


def _decided(service: Service, tenant: str, plan_id: str) -> PlanView:
    """The plan with the ratios decided so far."""
    row, plan = known_plan(service, tenant, plan_id)
    return _view(row.model_copy(update={"plan": plan.model_dump(mode="json")}))

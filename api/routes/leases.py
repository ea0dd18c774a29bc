"""/v1/epoch-plans/…/leases: an epoch read by consumers that come and go, block by block.

Parses and answers; the catalog's readings keep leases. A consumer reads the positions it was given by the plan's
formula, tells that it lives, and acknowledges. What a dead one held is given to another.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Caller, Feeder, Reader
from api.bodies import Body, View, routes_under
from api.once import create_once
from api.plan_shelf import known_plan
from api.replies import reply
from api.service import service_of
from curator.catalog import Reading, Standing

routes = routes_under("/v1/epoch-plans/{plan_id}/epochs/{epoch}/leases", "epoch-plans")

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
Epoch = Annotated[int, Path(ge=0, lt=2**31)]
LeaseId = Annotated[str, Path(max_length=64)]
Group = Annotated[str, Query(pattern=_NAME, description="who shares the epoch")]
LeaseSeconds = Annotated[float, Field(ge=1, le=3600, strict=True)]
POLL_MS = 500


class Done(Body):
    """A lease whose block is consumed."""

    id: str = Field(max_length=64)
    fence: int = Field(ge=0, lt=2**63, strict=True)


class Wanted(Body):
    """`group`: who shares the epoch; another group reads it for itself. `consumer`: for people who look.
    `positions`: of a block, at least a global batch; the group's first request decides. `done`: leases to acknowledge
    with the same commit."""

    group: str = Field(default="default", pattern=_NAME)
    consumer: str = Field(default="", max_length=255)
    positions: int = Field(default=16_384, ge=1, le=10_000_000, strict=True)
    lease_s: LeaseSeconds = 60.0
    done: tuple[Done, ...] = Field(default=(), max_length=100)


class Held(Body):
    """`fence` as the lease had it: what another consumer has taken over is refused."""

    fence: int = Field(ge=0, lt=2**63, strict=True)


class Beat(Held):
    lease_s: LeaseSeconds = 60.0


class LeaseView(View):
    """Positions [first, stop) of the epoch, for `lease_s` seconds from now; `attempt` above 1: somebody may have read
    some of it."""

    id: str
    fence: int
    first: int
    stop: int
    attempt: int
    lease_s: float


class ReadingView(View):
    """How far a group is. `repeated`: leases that ended without an acknowledgement. `done`: all is acknowledged."""

    plan: str
    epoch: int
    group: str
    block_positions: int
    blocks: int
    acked: int
    leased: int
    positions: int
    positions_acked: int
    repeated: int
    done: bool
    poll_after_ms: int | None


class Leased(View):
    """`lease` is null when every block is acknowledged (`reading.done`) or held by others: then ask again, as one of
    them may die. `lost`: leases of `done` that were not acknowledged, as their blocks are others' since."""

    lease: LeaseView | None
    lost: tuple[str, ...]
    reading: ReadingView


@routes.post("", status_code=201, response_model=Leased, responses={200: {"model": Leased}})
def take_lease(request: Request, caller: Feeder, plan_id: str, epoch: Epoch, body: Wanted) -> Response:
    """The next block nobody holds, for a while: 201 with a lease, 200 when there is none to give. What is `done` is
    acknowledged first."""
    service = service_of(request)
    row, plan = known_plan(service, caller.tenant, plan_id)
    batch, length = plan.global_batch_size, plan.num_positions(epoch)
    sizes = {"block_positions": max(body.positions // batch, 1) * batch, "num_positions": length}
    where = f"/v1/epoch-plans/{row.id}/epochs/{epoch}/leases?group={body.group}"

    def make(_: str) -> tuple[int, str, Leased]:
        readings = service.catalog.readings
        reading = readings.open(caller.tenant, row.id, epoch, body.group, **sizes)
        done = [(lease.id, lease.fence) for lease in body.done]
        found, lost = readings.exchange(reading, f"{caller.name}/{body.consumer}", body.lease_s, done)
        standing = readings.standing(reading)
        if found is None:
            return 200, where, Leased(lease=None, lost=tuple(lost), reading=_view(reading, standing))
        shown = {name: getattr(found, name) for name in ("id", "fence", "first", "stop", "attempt")}
        lease = LeaseView(**shown, lease_s=body.lease_s)
        return 201, where, Leased(lease=lease, lost=tuple(lost), reading=_view(reading, standing))

    return create_once(request, caller, body, "lse", make)


@routes.get("", response_model=ReadingView)
def get_reading(request: Request, caller: Reader, plan_id: str, epoch: Epoch, group: Group = "default") -> Response:
    """How far a group has read the epoch."""
    return reply(request, _standing(request, caller, _reading(request, caller, plan_id, epoch, group)))


@routes.post("/{lease_id}:heartbeat", response_model=ReadingView)
def keep_lease(
    request: Request,
    caller: Feeder,
    plan_id: str,
    epoch: Epoch,
    lease_id: LeaseId,
    body: Beat,
    group: Group = "default",
) -> Response:
    """Keeps a block for `lease_s` seconds from now. 409 `lease_lost` when it is another consumer's."""
    reading = _reading(request, caller, plan_id, epoch, group)
    service_of(request).catalog.readings.heartbeat(caller.tenant, reading, lease_id, body.fence, body.lease_s)
    return reply(request, _standing(request, caller, reading))


@routes.post("/{lease_id}:ack", response_model=ReadingView)
def acknowledge(
    request: Request,
    caller: Feeder,
    plan_id: str,
    epoch: Epoch,
    lease_id: LeaseId,
    body: Held,
    group: Group = "default",
) -> Response:
    """The block is consumed; sent twice it counts once. 409 `lease_lost` under a fence of old."""
    reading = _reading(request, caller, plan_id, epoch, group)
    service_of(request).catalog.readings.ack(caller.tenant, reading, lease_id, body.fence)
    return reply(request, _standing(request, caller, reading))


@routes.post("/{lease_id}:release", response_model=ReadingView)
def give_back(
    request: Request,
    caller: Feeder,
    plan_id: str,
    epoch: Epoch,
    lease_id: LeaseId,
    body: Held,
    group: Group = "default",
) -> Response:
    """The block is somebody else's at once; what was read of it is read again."""
    reading = _reading(request, caller, plan_id, epoch, group)
    service_of(request).catalog.readings.release(caller.tenant, reading, lease_id, body.fence)
    return reply(request, _standing(request, caller, reading))


def _reading(request: Request, caller: Caller, plan_id: str, epoch: int, group: str) -> Reading:
    catalog = service_of(request).catalog
    plan = catalog.plans.get(caller.tenant, plan_id)
    return catalog.readings.get(caller.tenant, plan.id, epoch, group)


def _standing(request: Request, caller: Caller, reading: Reading) -> ReadingView:
    return _view(reading, service_of(request).catalog.readings.standing(reading))


def _view(reading: Reading, standing: Standing) -> ReadingView:
    return ReadingView(
        plan=reading.plan,
        epoch=reading.epoch,
        group=reading.name,
        block_positions=reading.block_positions,
        **standing.model_dump(),
        done=standing.done,
        poll_after_ms=None if standing.done else POLL_MS,
    )

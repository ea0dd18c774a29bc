"""/v1/storage and /v1/quota: how many bytes a tenant's things take, by kind; what it may take, and takes.

Parses and answers; counted from the catalog, and for what it knows no sizes of (runs, training) from the files.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict

from fastapi import Request
from starlette.responses import Response

from api.auth import Reader
from api.bodies import View, routes_under
from api.replies import reply
from api.service import service_of
from curator.catalog import Quota, Use

routes = routes_under("/v1", "storage")


class KeptView(View):
    count: int
    bytes: int


class Storage(View):
    """`kinds`: uploads, shards (indexes too), runs, training, exports. Shards that another tenant has as well count for
    both. `deleted_runs`: on their way out, counted among runs until they are purged. `as_of`: files are counted once a
    minute at most."""

    kinds: dict[str, KeptView]
    bytes: int
    deleted_runs: int
    as_of: dt.datetime


@routes.get("/storage", response_model=Storage)
def get_storage(request: Request, caller: Reader) -> Response:
    """Bytes and number of the tenant's things by kind."""
    kinds, deleted, as_of = service_of(request).stocktaking.of(caller.tenant)
    total = sum(kept.bytes for kept in kinds.values())
    shown = {kind: KeptView(**asdict(kept)) for kind, kept in kinds.items()}
    return reply(request, Storage(kinds=shown, bytes=total, deleted_runs=deleted, as_of=as_of))


class QuotaView(View):
    """`limits`: null is none. `use`: what is taken now; requests are counted as they come."""

    limits: Quota
    use: Use
    event_streams: int


@routes.get("/quota", response_model=QuotaView)
def get_quota(request: Request, caller: Reader) -> Response:
    """What the tenant may take, set by whoever runs the server, and how much of it is taken."""
    service = service_of(request)
    use, streams = service.catalog.quotas.use(caller.tenant), service.allowances.streams.open_of(caller.tenant)
    return reply(request, QuotaView(limits=service.allowances.of(caller.tenant), use=use, event_streams=streams))

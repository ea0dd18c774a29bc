"""/v1/storage: how many bytes a tenant's things take, by kind.

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

routes = routes_under("/v1/storage", "storage")


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


@routes.get("", response_model=Storage)
def get_storage(request: Request, caller: Reader) -> Response:
    """Bytes and number of the tenant's things by kind."""
    kinds, deleted, as_of = service_of(request).stocktaking.of(caller.tenant)
    total = sum(kept.bytes for kept in kinds.values())
    shown = {kind: KeptView(**asdict(kept)) for kind, kept in kinds.items()}
    return reply(request, Storage(kinds=shown, bytes=total, deleted_runs=deleted, as_of=as_of))

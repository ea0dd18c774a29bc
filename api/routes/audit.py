"""/v1/audit: who changed what. For administrators.

Parses and answers; `api/trail.py` writes the lines.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from api.auth import Admin
from api.bodies import View, routes_under
from api.replies import reply
from api.service import service_of
from curator.catalog import AuditLine

routes = routes_under("/v1/audit", "audit")


class Trail(View):
    items: tuple[AuditLine, ...]
    next_cursor: str | None


@routes.get("", response_model=Trail)
def list_audit(
    request: Request,
    caller: Admin,
    actor: Annotated[str | None, Query(max_length=300)] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The tenant's changes, newest first; those of one `actor`."""
    page = service_of(request).catalog.audit.page(caller.tenant, actor=actor, cursor=cursor, limit=limit)
    return reply(request, Trail(items=page.items, next_cursor=page.next_cursor))

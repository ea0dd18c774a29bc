"""/v1/operations: one view to poll over runs, training jobs, exports and rewrites.

Parses and answers; `api/operations.py` tells.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from api.auth import Reader
from api.bodies import routes_under
from api.operations import Kind, OperationList, OperationView, operation, operations_page
from api.replies import reply
from api.service import service_of

routes = routes_under("/v1/operations", "operations")


@routes.get("", response_model=OperationList)
def list_operations(
    request: Request,
    caller: Reader,
    kind: Kind | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The tenant's runs, training jobs, exports and rewrites in one list, newest first."""
    service = service_of(request)
    return reply(request, operations_page(service, caller.tenant, kind=kind, cursor=cursor, limit=limit))


@routes.get("/{operation_id}", response_model=OperationView)
def get_operation(request: Request, caller: Reader, operation_id: str) -> Response:
    """One of them by its id; its ETag is the resource's version."""
    found = operation(service_of(request), caller.tenant, operation_id)
    return reply(request, found)

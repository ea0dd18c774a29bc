"""The audit trail: every change that was made is written down before its answer goes out.

Knows routes and callers; nothing of what was changed. What trains and streams by the thousand (parts of uploads,
feedback, leases of an epoch) is not a change of this kind and leaves its own rows.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import APIRoute

from api.auth import scope_of
from api.service import service_of
from curator.catalog import Scope

__all__ = ["is_audited", "note"]

_STREAMED = frozenset({"put_part"})


def is_audited(route: APIRoute) -> bool:
    """Whether what this route does is written down."""
    changes = bool((route.methods or set()) - {"GET", "HEAD"})
    return changes and scope_of(route) not in (None, Scope.READ, Scope.FEEDBACK) and route.name not in _STREAMED


def note(request: Request, route: APIRoute, status: int) -> None:
    """Writes the line. Raises RetryableError when the catalog is out of reach."""
    caller = request.state.caller
    service_of(request).catalog.audit.record(
        caller.tenant,
        actor=caller.name,
        action=f"{request.method} {route.path}",
        subject=request.url.path[:500],
        status=status,
        request_id=request.state.request_id,
    )

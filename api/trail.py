"""The audit trail: every change that was made is written down before its answer goes out, and every promotion that was
refused.

Knows routes and callers; nothing of what was changed. What trains and streams by the thousand (parts of uploads,
feedback, leases of an epoch) is not a change of this kind and leaves its own rows.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import APIRoute

from api.auth import scope_of
from api.service import service_of
from curator.catalog import Scope

__all__ = ["is_audited", "is_noted_refused", "note"]

_STREAMED = frozenset({"put_part"})


def is_audited(route: APIRoute) -> bool:
    """Whether what this route does is written down."""
    changes = bool((route.methods or set()) - {"GET", "HEAD"})
    return changes and scope_of(route) not in (None, Scope.READ, Scope.FEEDBACK) and route.name not in _STREAMED


def is_noted_refused(request: Request, route: APIRoute, status: int) -> bool:
    """Whether a refusal is written down: of a promotion, to a known caller, for want of the scope (403), by the gate
    (409) or because the version was another one (412)."""
    return scope_of(route) is Scope.PROMOTE and status in (403, 409, 412) and hasattr(request.state, "caller")


def note(request: Request, route: APIRoute, status: int, made: str | None = None) -> None:
    """Writes the line; `made`: the address of what was made. Raises RetryableError when the catalog is out of reach."""
    caller = request.state.caller
    service_of(request).catalog.audit.record(
        caller.tenant,
        actor=caller.name,
        action=f"{request.method} {route.path}",
        subject=_subject(request.url.path, made)[:500],
        status=status,
        request_id=request.state.request_id,
    )


def _subject(path: str, made: str | None) -> str:
    """The address that was asked; of what was made below it its own; both where one thing was made of another."""
    if made is None or path.startswith(made):
        return path
    return made if made.startswith(path) else f"{path} {made}"

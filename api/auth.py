"""Who is asking: an API key, or a person on this machine. The tenant comes from here and from nowhere else.

Knows keys and the catalog; nothing of resources.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from api.errors import Refusal
from api.issuer import LEEWAY_S, Issuer
from api.service import Service, service_of
from curator.catalog import LOCAL_TENANT, Scope
from curator.errors import RequestError, RetryableError, TransportError
from curator.settings import Settings

__all__ = [
    "Admin",
    "Caller",
    "Feeder",
    "Operator",
    "Promoter",
    "Reader",
    "Reviewer",
    "Writer",
    "asks_issuer",
    "is_loopback",
    "local_access",
    "scope_of",
    "still_opens",
]

LOCAL: Final = "local"
"""The name of callers who are this machine's own programs."""
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True)
class Caller:
    """tenant: whose things these are. name: the key's id, `oidc:` and a subject, or `local`, for the audit trail.
    token_until: when the token shown expires, in seconds of the epoch; None without one."""

    tenant: str
    name: str
    scopes: frozenset[Scope]
    token_until: float | None = None

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def local_access(settings: Settings) -> bool:
    """Whether requests of this machine need no key: only on loopback, and not if other host names are served too
    (then a proxy brings strangers to the loopback address)."""
    return is_loopback(settings.host) and not settings.allowed_hosts


def caller_of(request: Request) -> Caller:
    """Raises Refusal 401 without a valid credential, 429 after too many requests or wrong keys."""
    service = service_of(request)
    secret = _secret(request)
    if secret is None:
        if service.local_access and _is_local(request):
            return Caller(LOCAL_TENANT, LOCAL, frozenset({Scope.ADMIN}))
        raise _unauthenticated("no API key was shown; send `Authorization: Bearer wnw_…`")
    if service.issuer is not None and _is_token(secret):
        return _vouched_for(request, service.issuer, secret)
    key = service.catalog.keys.authenticate(secret)
    if key is None:
        service.wrong_keys.spend(request.client.host if request.client else "")
        raise _unauthenticated("the API key is unknown, expired or revoked")
    service.requests.spend(key.id)
    service.allowances.spend_request(key.tenant)
    return Caller(key.tenant, key.id, key.scopes)


def asks_issuer(request: Request) -> bool:
    """Whether `caller_of` may have to wait for the issuer. Raises Refusal 401."""
    secret = _secret(request)
    return service_of(request).issuer is not None and secret is not None and _is_token(secret)


def _is_token(secret: str) -> bool:
    return secret.count(".") == 2


def _vouched_for(request: Request, issuer: Issuer, token: str) -> Caller:
    """Who the issuer's token speaks for. Raises Refusal 401 for a token that does not hold, 429; TransportError when
    the issuer does not say."""
    service = service_of(request)
    try:
        bearer = issuer.bearer(token)
        tenant = service.catalog.keys.tenant_named(bearer.tenant)
    except (RequestError, TransportError) as error:
        service.wrong_keys.spend(request.client.host if request.client else "")
        if isinstance(error, TransportError):
            raise
        raise _unauthenticated(str(error)) from error
    name = f"oidc:{bearer.subject}"
    service.requests.spend(f"{tenant.id} {name}")
    service.allowances.spend_request(tenant.id)
    return Caller(tenant.id, name, bearer.scopes, bearer.until)


def still_opens(service: Service, caller: Caller) -> bool:
    """Whether what let a caller in would do so now. A catalog out of reach shuts nobody out."""
    if caller.token_until is not None:
        return time.time() < caller.token_until + LEEWAY_S
    if caller.name == LOCAL:
        return True
    try:
        return caller.name in service.catalog.keys.still_open([caller.name])
    except RetryableError:
        return True


def needs(scope: Scope) -> Callable[[Request], Caller]:
    """A dependency: the caller, if it may do what `scope` says. Raises Refusal 403 otherwise."""

    def admitted(request: Request) -> Caller:
        caller = request.state.caller = caller_of(request)
        if not caller.allows(scope):
            held = ", ".join(sorted(caller.scopes)) or "none"
            raise Refusal(403, "forbidden", f"this needs a key with scope {scope.value!r}; this one has: {held}")
        return caller

    admitted.scope = scope  # type: ignore[attr-defined]  # so that the document and the tests can tell it of a route
    return admitted


def scope_of(route: APIRoute) -> Scope | None:
    """The scope a route asks for; None for one that is open to all."""
    found = (getattr(inner.call, "scope", None) for inner in _flat(route.dependant))
    return next((scope for scope in found if isinstance(scope, Scope)), None)


def _flat(dependant: Any) -> Iterator[Any]:
    yield dependant
    for inner in dependant.dependencies:
        yield from _flat(inner)


Reader = Annotated[Caller, Depends(needs(Scope.READ))]
Writer = Annotated[Caller, Depends(needs(Scope.WRITE))]
Feeder = Annotated[Caller, Depends(needs(Scope.FEEDBACK))]
Reviewer = Annotated[Caller, Depends(needs(Scope.REVIEW))]
Promoter = Annotated[Caller, Depends(needs(Scope.PROMOTE))]
Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]


def _operates(caller: Admin) -> Caller:
    """Raises Refusal 403 for another tenant's administrator."""
    if caller.tenant != LOCAL_TENANT:
        raise Refusal(403, "forbidden", f"this tells of all tenants: an admin key of the tenant {LOCAL_TENANT!r} may")
    return caller


Operator = Annotated[Caller, Depends(_operates)]
"""Whoever runs the server: an administrator of the tenant `local`."""


def _secret(request: Request) -> str | None:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if not kind:
        return request.headers.get("x-api-key")
    if kind.lower() != "bearer" or not secret.strip():
        raise _unauthenticated("the Authorization header is not `Bearer wnw_…`")
    return secret.strip()


def _is_local(request: Request) -> bool:
    """A request of this machine that no proxy passed on."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    return request.client is not None and is_loopback(request.client.host)


def _unauthenticated(message: str) -> Refusal:
    return Refusal(401, "unauthenticated", message, {"WWW-Authenticate": 'Bearer realm="winnow"'})

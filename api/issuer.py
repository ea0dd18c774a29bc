"""An OpenID issuer whose tokens are taken beside API keys, if the server is told of one.

Knows signed tokens and where an issuer publishes its keys; nothing of routes. Only public-key signatures count, the
keys come from the configured issuer alone, and a token must be meant for this server, of now, and name a tenant that
exists.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from curator.catalog import Scope
from curator.errors import RequestError, TransportError
from curator.settings import Settings

__all__ = ["Bearer", "Issuer", "issuer_of"]

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
LEEWAY_S: Final = 30
_RENEWED_S, _KEPT_S, _ASKED_AGAIN_S = 600.0, 900.0, 10.0
"""Keys are asked for anew after the first and hold for the second; an issuer is asked once in the third, whether it
answered or not."""
_TIMEOUT_S: Final = 5.0
_PREFIX: Final = "winnow:"


@dataclass(frozen=True)
class Bearer:
    """Whom a token speaks for, and until when (seconds of the epoch)."""

    subject: str
    tenant: str
    scopes: frozenset[Scope]
    until: float


class Issuer:
    """One issuer; its keys are fetched when first needed, and again for one that is not known. Threads share it: one
    waits for the issuer, the others go on with the keys at hand or are told to come back."""

    def __init__(self, issuer: str, audience: str, *, tenant_claim: str, scope_claim: str):
        self._issuer, self._audience = issuer, audience
        self._tenant_claim, self._scope_claim = tenant_claim, scope_claim
        self._asking = threading.Lock()
        self._keys: Any = None
        self._fetched_at = self._failed_at = float("-inf")
        self._fault = f"the issuer {issuer} is being asked for its keys; come back in a moment"

    def bearer(self, token: str) -> Bearer:
        """Raises RequestError for a token that does not hold, without repeating anything of it; TransportError when the
        issuer does not answer, or did not a moment ago. It is asked about no token that could not hold anyway."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(_unproven(token))
            claims = self._decoded(token).claims
            registry.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RequestError(f"the token does not hold ({type(error).__name__})") from error
        return self._read(claims)

    def _decoded(self, token: str) -> Any:
        """The token under the keys at hand, or under fresh ones if theirs is not among them."""
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError

        try:
            return jwt.decode(token, self._current(_RENEWED_S, _KEPT_S), algorithms=ALGORITHMS)
        except (InvalidKeyIdError, ValueError):  # the issuer may have turned its keys over
            return jwt.decode(token, self._current(_ASKED_AGAIN_S, _ASKED_AGAIN_S), algorithms=ALGORITHMS)

    def _current(self, renewed_s: float, kept_s: float) -> Any:
        """The keys, asked for anew if they are older than `renewed_s`. Raises TransportError where that leaves none
        younger than `kept_s`: the issuer failed a moment ago, or another thread is asking it."""
        if self._age_s() > renewed_s and self._asking.acquire(blocking=False):
            try:
                self._ask(renewed_s)
            finally:
                self._asking.release()
        if self._age_s() > kept_s:
            raise TransportError(self._fault)
        return self._keys

    def _age_s(self) -> float:
        return time.monotonic() - self._fetched_at

    def _ask(self, renewed_s: float) -> None:
        """Fetches the keys, unless another thread just has or the issuer failed a moment ago."""
        if self._age_s() <= renewed_s or time.monotonic() - self._failed_at <= _ASKED_AGAIN_S:
            return
        try:
            self._keys = self._fetch()
            self._fetched_at = time.monotonic()
        except TransportError as error:
            self._fault, self._failed_at = str(error), time.monotonic()

    def _fetch(self) -> Any:
        from joserfc.jwk import KeySet

        try:
            with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
                found = client.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration").raise_for_status()
                told = found.json()
                if told.get("issuer") != self._issuer or _scheme(told["jwks_uri"]) != _scheme(self._issuer):
                    raise TransportError(f"{self._issuer} describes another issuer, or keys over another scheme")
                return KeySet.import_key_set(client.get(told["jwks_uri"]).raise_for_status().json())
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise TransportError(f"the issuer {self._issuer} does not give its keys: {type(error).__name__}") from error

    def _read(self, claims: dict[str, Any]) -> Bearer:
        tenant, subject = claims.get(self._tenant_claim), claims["sub"]
        if not isinstance(tenant, str) or not tenant or not subject:
            raise RequestError(f"the token names no tenant (claim {self._tenant_claim!r})")
        given = claims.get(self._scope_claim, "")
        names = given.split() if isinstance(given, str) else [name for name in given if isinstance(name, str)]
        known = {scope.value: scope for scope in Scope}
        held = {known[name.removeprefix(_PREFIX)] for name in names if _is_ours(name, known)}
        return Bearer(str(subject)[:200], tenant, frozenset(held), float(claims["exp"]))


def issuer_of(settings: Settings) -> Issuer | None:
    """The issuer the settings name, None without one. Raises RequestError for a plain-http issuer that is not on this
    machine, or when the library is missing."""
    if not settings.oidc_issuer:
        return None
    parts = urlsplit(settings.oidc_issuer)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise RequestError(f"WINNOW_OIDC_ISSUER {settings.oidc_issuer!r} is not https://; its keys could be anybody's")
    try:
        import joserfc  # noqa: F401
    except ImportError as error:
        raise RequestError("WINNOW_OIDC_ISSUER needs the extra `oidc`: pip install 'winnow-curation[oidc]'") from error
    claims = {"tenant_claim": settings.oidc_tenant_claim, "scope_claim": settings.oidc_scope_claim}
    return Issuer(settings.oidc_issuer, settings.oidc_audience, **claims)


def _unproven(token: str) -> dict[str, Any]:
    """What a token claims, its signature unread. Raises ValueError, JoseError."""
    from joserfc import jws

    shown = jws.extract_compact(token.encode())
    claims = json.loads(shown.payload)
    if shown.headers().get("alg") not in ALGORITHMS or not isinstance(claims, dict):
        raise ValueError("signed in no way that counts, or no claims")
    return claims


def _scheme(url: str) -> str:
    return urlsplit(url).scheme


def _is_ours(name: str, known: dict[str, Scope]) -> bool:
    return name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in known

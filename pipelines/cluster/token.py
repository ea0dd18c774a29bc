"""Ray's token authentication: on for a Ray of our own, demanded of any other that is not on this machine.

Knows environment variables and addresses; imports no Ray.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from curator.errors import RequestError

__all__ = ["check_address", "prepare"]

_TOKEN: Final = "token"
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def prepare(environ: MutableMapping[str, str]) -> None:
    """Sets what Ray reads on import: no usage reports; without a cluster's address, a token nobody else knows. Raises
    RequestError when the environment asks for a Ray of our own that takes anybody's code."""
    environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not environ.get("RAY_ADDRESS"):
        asked = environ.get("RAY_AUTH_MODE") or _TOKEN
        if asked.lower() != _TOKEN:
            raise RequestError(
                f"RAY_AUTH_MODE={asked} would let everyone who reaches this machine run code in Ray; unset it, or take "
                "`--engine inline`"
            )
        environ["RAY_AUTH_MODE"] = _TOKEN
        if not _has_token(environ):
            environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def check_address(address: str, environ: Mapping[str, str]) -> None:
    """Raises RequestError for a cluster off loopback without a token: it would run anybody's code."""
    host = (urlsplit(address if "://" in address else f"//{address}").hostname or "").lower()
    if host not in _LOOPBACK and not (environ.get("RAY_AUTH_MODE") == _TOKEN and _has_token(environ)):
        raise RequestError(
            f"the Ray cluster at {address} is not on this machine and no token is set; start it with "
            f"RAY_AUTH_MODE=token, and set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) here"
        )


def _has_token(environ: Mapping[str, str]) -> bool:
    if environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return (Path.home() / ".ray" / "auth_token").exists()

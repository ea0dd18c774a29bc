"""One Ray session: joined by address or started here, always with token authentication, its dashboard on loopback."""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from curator.errors import RequestError

__all__ = ["RaySession", "connect"]

_LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}


@dataclass
class RaySession:
    """Closes what it started; leaves alone what was there."""

    started: bool

    def close(self) -> None:
        import ray

        if self.started:
            ray.shutdown()


def connect(address: str | None) -> RaySession:
    """Joins the Ray at `address`, or starts one on this machine. Does nothing if this process is connected.

    Raises RequestError for an address off loopback without a token: such a cluster runs anybody's code.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        _own_token()
    elif not _has_token() and _host(address) not in _LOOPBACK:
        raise RequestError(
            f"the Ray cluster at {address} is not on this machine and no token is set; start it with "
            f"RAY_AUTH_MODE=token and set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH here"
        )
    import ray

    if ray.is_initialized():
        return RaySession(started=False)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))
    ray.init(
        address=address,
        include_dashboard=False if address is None else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    return RaySession(started=True)


def _host(address: str) -> str:
    return (urlsplit(address if "://" in address else f"//{address}").hostname or "").lower()


def _has_token() -> bool:
    return bool(os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or (Path.home() / ".ray" / "auth_token").exists())


def _own_token() -> None:
    """A Ray of our own gets a token nobody else knows."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and not _has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

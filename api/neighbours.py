"""Whether the Ray cluster that runs are sent to can be reached: a connection, nothing said on it.

Knows addresses and sockets; loads no Ray.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Final, Literal
from urllib.parse import urlsplit

__all__ = ["RayDoor", "RayState"]

RayState = Literal["ok", "away", "own"]
"""`own`: each runner starts a Ray of its own, so there is nothing to reach."""

_ASKED_EVERY_S: Final = 5.0
_PATIENCE_S: Final = 0.5
_PORT: Final = 6379


class RayDoor:
    """The cluster's address; asked at most once in five seconds, however often the service is."""

    def __init__(self, address: str | None):
        self._place = _place(address) if address else None
        self._lock = threading.Lock()
        self._state: RayState = "own" if self._place is None else "away"
        self._asked_at = float("-inf")

    def state(self) -> RayState:
        with self._lock:
            if self._place is not None and time.monotonic() - self._asked_at >= _ASKED_EVERY_S:
                self._state, self._asked_at = ("ok" if _opens(self._place) else "away"), time.monotonic()
            return self._state


def _place(address: str) -> tuple[str, int] | None:
    """(host, port) of `host:port` or `ray://host:port`; None for `auto` and `local`, which name no place."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if address in ("auto", "local") or not parts.hostname:
        return None
    return parts.hostname, parts.port or _PORT


def _opens(place: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(place, _PATIENCE_S):
            return True
    except OSError:
        return False

"""An end to what is asked over the network: once its time is over, or when told, its connection is hung up.

A client's timeout bounds a silence; a host that sends a byte a second never falls silent. Knows sockets, as httpx tells
of them; nothing of what is asked.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any, Self

__all__ = ["Deadline"]


class Deadline:
    """Of one piece of work, however many requests it takes, one after another. Any thread may end it before."""

    def __init__(self, most_s: float):
        self._lock, self._over = threading.Lock(), False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(most_s, self.end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._timer.cancel()

    @property
    def over(self) -> bool:
        """Whether it has passed. A body whose end is the connection's looks whole then, and is not."""
        return self._over

    def end(self) -> None:
        """Hangs up now, and whatever is connected later."""
        with self._lock:
            self._over = True
            self._hang_up()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpx's request extension `trace`: which connection is spoken on."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._over:
                    self._hang_up()

    def _hang_up(self) -> None:
        """Wakes whoever reads, which closing would not; of TLS too the plain connection, as its own is being read."""
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

"""Files over plain HTTP at the speed of the line: read from the socket into one buffer, without a copy between.

For large bodies httpx costs three times the processor time. Knows one server without TLS or proxy; redirects, refusals
and everything else are httpx's.
"""

from __future__ import annotations

import http.client
import os
import urllib.request
import weakref
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from curator.client.arriving import Arriving
from curator.errors import TransportError

__all__ = ["Line"]

BUFFER_BYTES: Final = 2**20


class Line:
    """Connections to one server; may be used from several threads, and after a fork."""

    def __init__(self, base_url: str, timeout_s: float):
        found = urlsplit(base_url)
        self._host, self._port, self._prefix = str(found.hostname), found.port or 80, found.path
        self._timeout_s = timeout_s
        self._begin()

    def _begin(self) -> None:
        self._process, self._free = os.getpid(), list[http.client.HTTPConnection]()
        weakref.finalize(self, _close_all, self._free)

    @classmethod
    def to(cls, base_url: str, timeout_s: float) -> Line | None:
        """None where there is TLS or a proxy between."""
        found = urlsplit(base_url)
        if found.scheme != "http" or found.hostname is None:
            return None
        proxied = {"http", "all"} & set(urllib.request.getproxies())
        return None if proxied and not urllib.request.proxy_bypass(found.hostname) else cls(base_url, timeout_s)

    def fetch(self, path: str, headers: Mapping[str, str], file: Arriving) -> bool:
        """Appends a body to a file: what `Range` asks for, or all of it from the start when the server sends that.
        False, with nothing written, for every answer but 200 and 206. Raises TransportError when it breaks off."""
        connection = self._connection()
        response = None
        try:
            connection.request("GET", self._prefix + path, headers=dict(headers))
            response = connection.getresponse()
            found = response.status in (200, 206)
            if response.status == 200 and file.tell():
                file.restart()
            buffer = memoryview(bytearray(BUFFER_BYTES))
            while size := response.readinto(buffer):
                if found:
                    file.write(buffer[:size])
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            told = f"http://{self._host}:{self._port} did not answer: {type(error).__name__}: {error}"
            raise TransportError(told) from error
        finally:
            if response is None or not response.isclosed():
                connection.close()
                if response is not None:
                    response.close()
            else:
                self._free.append(connection)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_free": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _connection(self) -> http.client.HTTPConnection:
        if self._process != os.getpid():  # a forked worker must not share its parent's sockets
            self._begin()
        try:
            return self._free.pop()
        except IndexError:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    for connection in connections:
        connection.close()

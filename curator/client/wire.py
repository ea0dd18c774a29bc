"""Requests to one server: tried again when a connection breaks or the server is busy, errors as the server named them.

Knows HTTP; nothing of resources.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from curator.client.problems import raise_for
from curator.errors import RequestError, TransportError, UnreachableError

__all__ = ["ARROW", "Wire", "id_of", "unreachable"]

ARROW: Final = "application/vnd.apache.arrow.stream"


class Wire:
    """One server's address and credential. Threads may share it.

    timeout_s: of one answer. retries: tries after the first, the n-th of them after `backoff_s · 2^n` seconds, or
    after as long as the server asks.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout_s: float,
        retries: int,
        backoff_s: float,
        transport: httpx.BaseTransport | None,
    ):
        self.base_url, self.api_key, self.transport = _address(base_url), api_key, transport
        self.timeout_s, self.retries = timeout_s, retries
        self._backoff_s, self._answered = backoff_s, False
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return self.call("GET", path).json()

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """For what is harmless to send twice."""
        return self.call("POST", path, json=body).json()

    def create(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Any:
        """A POST that makes something: its idempotency key lets it be sent again."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return self.call("POST", path, json=body, headers=headers).json()

    def put(self, path: str, body: Mapping[str, Any], version: int) -> Any:
        """Under If-Match: refused when the resource is no longer at this version."""
        return self.call("PUT", path, json=body, headers={"If-Match": f'"{version}"'}).json()

    def items(self, path: str, params: Mapping[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        """Everything on a list's pages, at most `limit`."""
        given, cursor = 0, None
        while limit is None or given < limit:
            page = self.call("GET", path, params={**params, **({"cursor": cursor} if cursor else {})}).json()
            for item in page["items"]:
                if limit is not None and given == limit:
                    return
                given += 1
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def call(
        self, method: str, path: str, *, body: Callable[[], Iterator[bytes]] | None = None, **request: Any
    ) -> httpx.Response:
        """One request until it is answered. `body` makes the content anew for every try. Raises what the server
        names, TransportError when it stays silent, UnreachableError when nobody ever answered at the address."""
        problem: Exception | None = None
        for attempt in range(self.retries + 1):
            wait_s = self._backoff_s * 2**attempt
            try:
                if body is not None:
                    request["content"] = body()
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                problem = error
            else:
                self._answered = True
                if response.status_code not in (429, 503) or attempt == self.retries:
                    raise_for(response)
                    return response
                asked = response.headers.get("retry-after", "")
                wait_s = max(wait_s, float(asked) if asked.isdigit() else 0.0)
            if attempt < self.retries:
                time.sleep(wait_s)
        if isinstance(problem, httpx.ConnectError) and not self._answered:
            raise unreachable(self.base_url, problem) from problem
        raise TransportError(
            f"{self.base_url} did not answer {method} {path} in {self.retries + 1} tries "
            f"({type(problem).__name__}: {problem}); check the address, and that `winnow serve` is running"
        ) from problem

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any], accept: str) -> Iterator[Iterator[bytes]]:
        """An answer's bytes as they come. Raises what the server names, TransportError when it breaks off."""
        try:
            with self._http.stream("GET", path, params=dict(params), headers={"Accept": accept}) as response:
                if response.status_code >= 400:
                    response.read()
                    raise_for(response)
                self._answered = True
                yield response.iter_bytes(2**20)
        except httpx.TransportError as error:
            if isinstance(error, httpx.ConnectError) and not self._answered:
                raise unreachable(self.base_url, error) from error
            raise TransportError(f"{self.base_url} broke off {path}: {type(error).__name__}; ask again") from error


def _address(base_url: str) -> str:
    """The address without `/v1`. Raises RequestError for one that HTTP cannot reach."""
    scheme, found, rest = base_url.strip().partition("://")
    if not found or scheme not in ("http", "https") or not rest.strip("/"):
        host = (rest if found else base_url.strip()).strip("/") or "127.0.0.1:8700"
        raise RequestError(f"{base_url!r} is no address of a server; write it like http://{host}")
    return base_url.strip().rstrip("/").removesuffix("/v1")


def unreachable(base_url: str, error: Exception) -> UnreachableError:
    """The error of an address at which no connection can be made."""
    return UnreachableError(
        f"nobody answers at {base_url} ({error}), so nothing was asked; check the address (--url or WINNOW_URL), and "
        "that `winnow serve` is running there"
    )


def id_of(thing: str | Mapping[str, Any]) -> str:
    """A resource's id, given as such or in the resource."""
    return thing if isinstance(thing, str) else str(thing["id"])

"""What an administrator keeps at a server: API keys and webhooks.

Knows addresses. A secret is shown once, when what it belongs to is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curator.client.wire import Wire
from curator.errors import TransportError

__all__ = ["Keys", "Webhooks"]


class Keys:
    """`client.keys`, for a key with scope `admin`."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def create(self, name: str, scopes: Sequence[str], *, expires_in_s: int | None = 90 * 86_400) -> dict[str, Any]:
        """A key that may do what `scopes` say; its `secret` is shown now and never again."""
        body = {"name": name, "scopes": [*scopes], "expires_in_s": expires_in_s}
        return _made(self._wire, "/v1/keys", body)

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The tenant's keys, oldest first, without their secrets."""
        return self._wire.items("/v1/keys", {}, limit)

    def get(self, key: str) -> dict[str, Any]:
        """One key, revoked or not, without its secret."""
        return self._wire.get(f"/v1/keys/{key}")

    def revoke(self, key: str) -> None:
        """From now on the key opens nothing."""
        self._wire.call("DELETE", f"/v1/keys/{key}")


class Webhooks:
    """`client.webhooks`, for a key with scope `admin`."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def create(self, url: str, kinds: Sequence[str] = ()) -> dict[str, Any]:
        """An address that is told of events of these kinds, all when empty; its `secret` is shown now and never
        again."""
        return _made(self._wire, "/v1/webhooks", {"url": url, "kinds": [*kinds]})

    def list(self) -> Sequence[dict[str, Any]]:
        """The tenant's webhooks."""
        return tuple(self._wire.get("/v1/webhooks")["items"])

    def get(self, webhook: str) -> dict[str, Any]:
        """One webhook."""
        return self._wire.get(f"/v1/webhooks/{webhook}")

    def deliveries(self, webhook: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """What was told and how it went, newest first."""
        return self._wire.items(f"/v1/webhooks/{webhook}/deliveries", {}, limit)

    def delete(self, webhook: str) -> None:
        """Tells it nothing more."""
        self._wire.call("DELETE", f"/v1/webhooks/{webhook}")


def _made(wire: Wire, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a POST made, with its secret. An answer that broke off took the secret with it, and the one given again has
    none: what was made is taken back then, and made anew. Raises TransportError when that happens over and over."""
    for _ in range(3):
        made: dict[str, Any] = wire.create(path, body)
        if made["secret"] is not None:
            return made
        wire.call("DELETE", f"{path}/{made['id']}")
    raise TransportError(f"answers to POST {path} break off before they arrive; what they made was taken back")

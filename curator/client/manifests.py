"""Manifests at a server: found by id or alias, compared, compacted; the aliases themselves.

Knows addresses; what a manifest says is `curator.shards`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from curator.client.wire import Wire

__all__ = ["Manifests"]


class Manifests:
    """`client.manifests`. A manifest is named by its id or by an alias."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def get(self, manifest: str) -> dict[str, Any]:
        """A manifest as JSON."""
        return self._wire.get(f"/v1/manifests/{manifest}")

    def list(self, *, run: str | None = None, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All manifests (or a run's), newest first."""
        return self._wire.items("/v1/manifests", {"run": run} if run else {}, limit)

    def lineage(self, manifest: str) -> Sequence[dict[str, Any]]:
        """The manifest and its ancestors, newest first."""
        return tuple(self._wire.get(f"/v1/manifests/{manifest}/lineage")["items"])

    def diff(self, manifest: str, base: str) -> dict[str, Any]:
        """Which rows live in one and not in the other."""
        return self._wire.call("GET", f"/v1/manifests/{manifest}/diff", params={"base": base}).json()

    def compact(self, manifest: str) -> dict[str, Any]:
        """Queues the merging of small shards; `client.operations.wait` for it."""
        return self._wire.create(f"/v1/manifests/{manifest}:compact", {})

    def aliases(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All aliases by name."""
        return self._wire.items("/v1/aliases", {}, limit)

    def alias(self, name: str) -> dict[str, Any]:
        """Where an alias points, and the version a move has to show."""
        return self._wire.get(f"/v1/aliases/{name}")

    def set_alias(self, name: str, manifest: str, *, version: int, note: str = "") -> dict[str, Any]:
        """Points an alias at a manifest. version: the one it is known to have, 0 for a new one. Raises ConflictError
        when it has moved since."""
        return self._wire.put(f"/v1/aliases/{name}", {"manifest": manifest, "note": note}, version)

    def forget_alias(self, name: str, *, version: int) -> None:
        """Forgets an alias and its moves; the manifest stays. Raises ConflictError if it moved since `version`."""
        self._wire.call("DELETE", f"/v1/aliases/{name}", headers={"If-Match": f'"{version}"'})

    def moves(self, name: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Who moved an alias when, newest first."""
        return self._wire.items(f"/v1/aliases/{name}/moves", {}, limit)

    def presigned(self, digests: Sequence[str], *, expires_s: int = 900) -> Sequence[dict[str, Any]]:
        """Where shards and indexes can be fetched: at the object store itself where `direct`, else at this server."""
        return list(self._wire.post("/v1/shards:presign", {"digests": [*digests], "expires_s": expires_s})["items"])

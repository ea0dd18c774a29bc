"""Learned policies at a server: their versions and scorecards, and which of them is champion.

Knows addresses; nothing of how a policy decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curator.client.wire import Wire

__all__ = ["Policies"]


class Policies:
    """`client.policies`."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All policies by name."""
        return self._wire.items("/v1/policies", {}, limit)

    def get(self, name: str) -> dict[str, Any]:
        """One policy and where its aliases point."""
        return self._wire.get(f"/v1/policies/{name}")

    def versions(self, name: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """A policy's versions, newest first."""
        return self._wire.items(f"/v1/policies/{name}/versions", {}, limit)

    def version(self, name: str, number: int) -> dict[str, Any]:
        """A version with its scorecard, and what the gate of promotion says of it."""
        return self._wire.get(f"/v1/policies/{name}/versions/{number}")

    def weights(self, name: str, number: int) -> bytes:
        """The safetensors file of a version."""
        return self._wire.call("GET", f"/v1/policies/{name}/versions/{number}/weights").content

    def alias(self, name: str, alias: str) -> dict[str, Any]:
        """Where `champion` or `candidate` points, and the version a move has to show."""
        return self._wire.get(f"/v1/policies/{name}/aliases/{alias}")

    def promote(self, name: str, alias: str, number: int, *, version: int, note: str = "") -> dict[str, Any]:
        """Points an alias at a version; `champion` only through the gate. Raises ConflictError when the alias has moved
        since `version`, or the gate stays shut."""
        return self._wire.put(f"/v1/policies/{name}/aliases/{alias}", {"number": number, "note": note}, version)

    def roll_back(self, name: str, alias: str, *, version: int, note: str = "") -> dict[str, Any]:
        """Points an alias where it pointed before its last move. Raises ConflictError."""
        headers = {"If-Match": f'"{version}"'}
        address = f"/v1/policies/{name}/aliases/{alias}:rollback"
        return self._wire.call("POST", address, json={"note": note}, headers=headers).json()

    def moves(self, name: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Every move of a policy's aliases, newest first."""
        return self._wire.items(f"/v1/policies/{name}/moves", {}, limit)

"""Datasets at a server: what was registered, what validation found, the first rows.

Knows addresses; registering is `Client.create_dataset`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curator.client.wire import Wire

__all__ = ["Datasets"]


class Datasets:
    """`client.datasets`."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All datasets, newest first."""
        return self._wire.items("/v1/datasets", {}, limit)

    def get(self, dataset: str) -> dict[str, Any]:
        """One dataset."""
        return self._wire.get(f"/v1/datasets/{dataset}")

    def delete(self, dataset: str) -> None:
        """Hides a dataset; what was made of it stays."""
        self._wire.call("DELETE", f"/v1/datasets/{dataset}")

    def check_origin(self, dataset: str) -> dict[str, Any]:
        """Whether the place a dataset was fetched from holds something else by now."""
        return self._wire.post(f"/v1/datasets/{dataset}:check-origin")

    def schema(self, dataset: str, version: int = 1) -> dict[str, Any]:
        """A version's columns and types."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}/schema")

    def rows(self, dataset: str, version: int = 1) -> dict[str, Any]:
        """A version's first rows."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}/rows")

    def statistics(self, dataset: str, version: int = 1) -> dict[str, Any]:
        """What validation counted in a version."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}/statistics")

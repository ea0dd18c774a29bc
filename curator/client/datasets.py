"""Datasets at a server: what was registered, what validation found, the first rows.

Knows addresses; registering is `Client.create_dataset`'s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from curator.client.wire import Wire
from curator.errors import InputError

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

    def versions(self, dataset: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """A dataset's versions, newest first."""
        return self._wire.items(f"/v1/datasets/{dataset}/versions", {}, limit)

    def version(self, dataset: str, version: int) -> dict[str, Any]:
        """One version and its state."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}")

    def add_version(
        self,
        dataset: str,
        uploads: str | Sequence[str] = (),
        *,
        uri: str | None = None,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Other rows for a dataset: uploads, or a place the server may read. Waits until they are validated; raises
        InputError when they are rejected."""
        ids = [uploads] if isinstance(uploads, str) else list(uploads)
        body = {"upload_ids": ids, "uri": uri}
        made = self._wire.create(f"/v1/datasets/{dataset}/versions", body, key=idempotency_key)
        while wait and made["state"] == "validating":
            time.sleep(made["poll_after_ms"] / 1000)
            made = self.version(dataset, made["version"])
        if wait and made["state"] == "rejected":
            told = made["error"]["message"]
            raise InputError(f"version {made['version']} of dataset {dataset} was rejected: {told}")
        return made

    def schema(self, dataset: str, version: int = 1) -> dict[str, Any]:
        """A version's columns and types."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}/schema")

    def rows(self, dataset: str, version: int = 1) -> dict[str, Any]:
        """A version's first rows."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}/rows")

    def statistics(self, dataset: str, version: int = 1) -> dict[str, Any]:
        """What validation counted in a version."""
        return self._wire.get(f"/v1/datasets/{dataset}/versions/{version}/statistics")

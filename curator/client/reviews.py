"""Rows under review at a server: queues, claims under leases, verdicts, and what becomes of them.

Knows addresses; nothing of how rows are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curator.client.wire import Wire

__all__ = ["Reviews"]


class Reviews:
    """`client.reviews`. A claimed item carries its lease, under which it is answered, skipped or given back."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def open(self, run: str, **settings: Any) -> dict[str, Any]:
        """A queue of the rows whose truth is worth most: budget, audit_share, overlap, order, min_worth, seed."""
        return self._wire.create("/v1/review/queues", {"run": run, **settings})

    def list(self, *, run: str | None = None, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All queues (or a run's), newest first."""
        return self._wire.items("/v1/review/queues", {"run": run} if run else {}, limit)

    def get(self, queue: str) -> dict[str, Any]:
        """How far a queue is, and how far its reviewers agree."""
        return self._wire.get(f"/v1/review/queues/{queue}")

    def items(self, queue: str, *, state: str | None = None, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """A queue's items in order."""
        return self._wire.items(f"/v1/review/queues/{queue}/items", {"state": state} if state else {}, limit)

    def item(self, item: str) -> dict[str, Any]:
        """One item."""
        return self._wire.get(f"/v1/review/items/{item}")

    def claim(self, queue: str, num_items: int = 1) -> Sequence[dict[str, Any]]:
        """Up to `num_items` items for this reviewer alone, with their data, each with its `lease`."""
        return list(
            self._wire.call("POST", f"/v1/review/queues/{queue}:claim", params={"n": num_items}).json()["items"]
        )

    def answer(
        self, item: Mapping[str, Any], action: str, *, label: str | int | float | None = None, note: str = ""
    ) -> dict[str, Any]:
        """A verdict (keep, drop or relabel) on a claimed item. Raises LeaseLostError when it is somebody else's now."""
        body = {"action": action, "note": note, "lease": item["lease"]["token"]}
        return self._wire.post(
            f"/v1/review/items/{item['id']}/verdict", {**body, **({} if label is None else {"label": label})}
        )

    def skip(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Leaves a claimed item to others for good. Raises LeaseLostError."""
        return self._wire.post(f"/v1/review/items/{item['id']}:skip", {"lease": item["lease"]["token"]})

    def release(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Gives a claimed item back. Raises LeaseLostError."""
        return self._wire.post(f"/v1/review/items/{item['id']}:release", {"lease": item["lease"]["token"]})

    def apply(self, queue: str, **settings: Any) -> dict[str, Any]:
        """Settled verdicts as overrides: a new manifest."""
        return self._wire.create(f"/v1/review/queues/{queue}:apply", settings)

    def trusted(self, queue: str, *, form: str = "parquet", with_trusted: bool = False) -> bytes:
        """Settled verdicts as a trusted sample for the next run, a `parquet` or `arrow` file's bytes."""
        params = {"format": form, "with_trusted": str(with_trusted).lower()}
        return self._wire.call("GET", f"/v1/review/queues/{queue}/trusted", params=params).content

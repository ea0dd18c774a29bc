"""Which backend a batch goes to: the one that is through with it first, by what each shape was measured to cost.

Knows names, shapes and seconds; nothing of models. Light batches go to a CPU while a GPU is at heavy ones.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pipelines.training.serving.buckets import Bucket

__all__ = ["Routing"]


class Routing:
    """`chosen` takes a batch's cost onto a backend's account, `done` off it."""

    def __init__(self, costs: Mapping[str, Mapping[Bucket, float]], workers: Mapping[str, int] | None = None):
        """`costs`: seconds of each shape on each backend. `workers`: calls that a backend serves at a time."""
        self.costs, self._workers = costs, workers or {}
        self._owed_s = dict.fromkeys(costs, 0.0)
        self._lock = threading.Lock()

    def chosen(self, bucket: Bucket) -> str:
        with self._lock:
            name = min(
                self.costs, key=lambda one: self._owed_s[one] / self._workers.get(one, 1) + self.costs[one][bucket]
            )
            self._owed_s[name] += self.costs[name][bucket]
            return name

    def done(self, name: str, bucket: Bucket) -> None:
        with self._lock:
            self._owed_s[name] = max(self._owed_s[name] - self.costs[name][bucket], 0.0)

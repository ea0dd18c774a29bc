"""Decoded record batches kept in memory, up to a number of bytes.

Knows keys and sizes, nothing of shards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

import pyarrow as pa

__all__ = ["BatchCache"]


class BatchCache:
    """A bounded map, safe for threads. When full, one newcomer in eight takes the place of arbitrary others.

    Not the least recently used: epochs walk over the data in circles, and under a circle longer than the cache that
    rule never hits; a cache slow to change hits nearly as often as its share of the data.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._batches: dict[Hashable, pa.RecordBatch] = {}
        self._keys: list[Hashable] = []
        self._turn = self._refused = 0
        self._lock = threading.Lock()

    def of(self, key: Hashable, make: Callable[[], pa.RecordBatch]) -> tuple[pa.RecordBatch, bool]:
        """The batch kept under a key, or what `make` makes; False, as holding on to it costs memory."""
        rows = self.get(key)
        if rows is None:
            rows = make()
            self.put(key, rows)
        return rows, False

    def get(self, key: Hashable) -> pa.RecordBatch | None:
        with self._lock:
            return self._batches.get(key)

    def put(self, key: Hashable, batch: pa.RecordBatch) -> None:
        """Keeps a batch unless it is larger than the whole cache."""
        size = batch.nbytes
        with self._lock:
            if key in self._batches or size > self.max_bytes:
                return
            if self.num_bytes + size > self.max_bytes:
                self._refused = (self._refused + 1) % 8
                if self._refused:
                    return
            while self.num_bytes + size > self.max_bytes:
                self._drop_one()
            self._batches[key] = batch
            self._keys.append(key)
            self.num_bytes += size

    def _drop_one(self) -> None:
        self._turn = (self._turn * 6364136223846793005 + 1442695040888963407) % 2**64  # Knuth's MMIX generator
        place = (self._turn >> 33) % len(self._keys)
        self._keys[place], self._keys[-1] = self._keys[-1], self._keys[place]
        self.num_bytes -= self._batches.pop(self._keys.pop()).nbytes

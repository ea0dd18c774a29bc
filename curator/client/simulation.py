"""What an epoch will ask of a client before it runs: shards fetched, bytes, cache hits, stalls.

Knows plans, manifests and the client's two caches; reads no row and asks no server. The epoch is drafted by the very
code that drafts it in a stream, over a reader that only keeps the books.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.client.windows import AHEAD, Share, gather
from curator.epochs.plan import EpochPlan, rank_slice
from curator.errors import RequestError
from curator.shards.manifest import Manifest, ShardInfo
from curator.shards.picked import Picked
from curator.shards.reader import ShardReader

__all__ = ["Simulation", "simulate"]

MAX_OPEN = 256
"""Shards a reader holds open: as many as a ShardReader does."""


class Simulation(BaseModel):
    """One rank's epoch. shards: different ones that are needed; fetches: how often one came from its origin; hits: how
    often one that was not open came from the file cache. first_batch_s and stall_s: waiting for fetches at the start
    and after; seconds: the whole epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    shards: int
    fetches: int
    hits: int
    bytes_needed: int
    bytes_fetched: int
    first_batch_s: float
    stall_s: float
    seconds: float


def simulate(
    plan: EpochPlan,
    manifest: Manifest,
    epoch: int,
    *,
    bytes_per_s: float,
    rows_per_s: float,
    cache_limit_bytes: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    max_open: int = MAX_OPEN,
    index_bytes: Callable[[ShardInfo], int] | None = None,
) -> Simulation:
    """One rank's epoch on an empty cache.

    bytes_per_s: from the origin. rows_per_s: that the rank's training takes; decoding is not counted.
    cache_limit_bytes: of the file cache, None for no limit, 0 for a source without one. index_bytes: size of a shard's
    index file, 4 bytes a live row and 1,500 when None. Raises RequestError on rates that are none, on a plan of
    another manifest, and as the plan does.
    """
    if not (bytes_per_s > 0 and rows_per_s > 0):
        raise RequestError(f"bytes_per_s {bytes_per_s} and rows_per_s {rows_per_s} must be above zero")
    if plan.manifest != manifest.id:
        raise RequestError(f"{plan.id} is a plan of {plan.manifest}, not of {manifest.id}")
    low, high = rank_slice(plan.global_batch_size, rank, world_size)
    books = _Books(manifest, cache_limit_bytes, max_open, index_bytes or _estimated)
    clock, num_rows, fetched = _Clock(1 / bytes_per_s, 1 / rows_per_s), 0, 0
    for draft in gather(plan, manifest, cast(ShardReader, books), epoch, Share(low, high)):
        clock.chunk(books.bytes_fetched - fetched, len(draft.order))
        num_rows, fetched = num_rows + len(draft.order), books.bytes_fetched
    return Simulation(
        rows=num_rows,
        shards=len(books.needed),
        fetches=books.fetches,
        hits=books.hits,
        bytes_needed=sum(manifest.shards[shard].bytes for shard in books.needed),
        bytes_fetched=books.bytes_fetched,
        first_batch_s=clock.first_s,
        stall_s=clock.stall_s,
        seconds=clock.used_up_s,
    )


class _Books:
    """Stands in for a ShardReader over a cached source: notes what would be opened and fetched."""

    def __init__(
        self, manifest: Manifest, limit_bytes: int | None, max_open: int, index_bytes: Callable[[ShardInfo], int]
    ):
        self._manifest, self._limit, self._max_open, self._index_bytes = manifest, limit_bytes, max_open, index_bytes
        self._open: OrderedDict[int, None] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        self.needed: set[int] = set()
        self.fetches = self.hits = self.bytes_fetched = 0

    def open(self, manifest: Manifest, shard: int) -> _Opened:
        info = manifest.shards[shard]
        self.needed.add(shard)
        if shard in self._open:
            self._open.move_to_end(shard)
        else:
            if info.index is not None:
                self._file(info.index, self._index_bytes(info))
            if self._file(info.digest, info.bytes):
                self.hits += 1
            else:
                self.fetches += 1
            self._open[shard] = None
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
        return _Opened(info.live)

    def pick_all(
        self, manifest: Manifest, wanted: Sequence[np.ndarray], columns: Sequence[str] | None = None
    ) -> list[Picked]:
        for shard in np.unique(np.concatenate(wanted)[:, 0]).tolist():
            self.open(manifest, shard)
        return [Picked(pa.schema([]), np.arange(len(places)), []) for places in wanted]

    def _file(self, name: str, num_bytes: int) -> bool:
        """Whether a file lies in the cache; else it comes from the origin, and others make room for it."""
        if name in self._files:
            self._files.move_to_end(name)
            return True
        self.bytes_fetched += num_bytes
        if self._limit != 0:
            self._files[name] = num_bytes
            while self._limit is not None and sum(self._files.values()) > self._limit and len(self._files) > 1:
                self._files.popitem(last=False)
        return False


class _Opened:
    """A shard whose rows are counted, not read."""

    def __init__(self, live: tuple[int, int, int]):
        self._live = live

    @property
    def index(self) -> Any:
        return self

    @cached_property
    def by_row(self) -> list[np.ndarray]:
        return [np.zeros(count, dtype=np.uint32) for count in self._live]

    @property
    def by_difficulty(self) -> list[np.ndarray]:
        return self.by_row


class _Clock:
    """A stream's pipeline: a chunk is drafted once the one before it is and the one `AHEAD` before it is taken."""

    def __init__(self, s_per_byte: float, s_per_row: float):
        self._s_per_byte, self._s_per_row = s_per_byte, s_per_row
        self._drafted_s = 0.0
        self._taken: list[float] = []
        self.first_s = self.stall_s = self.used_up_s = 0.0

    def chunk(self, num_bytes: int, num_rows: int) -> None:
        begun = self._taken[-AHEAD] if len(self._taken) >= AHEAD else 0.0
        self._drafted_s = max(self._drafted_s, begun) + num_bytes * self._s_per_byte
        taken = max(self._drafted_s, self.used_up_s)
        if self._taken:
            self.stall_s += taken - self.used_up_s
        else:
            self.first_s = taken
        self._taken.append(taken)
        self.used_up_s = taken + num_rows * self._s_per_row


def _estimated(info: ShardInfo) -> int:
    return 1500 + 4 * sum(info.live)

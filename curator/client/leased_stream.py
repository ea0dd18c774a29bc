"""An epoch shared by consumers that come and go: each takes blocks under leases and acknowledges what it has used.

Runs without torch. Knows a server's plans and leases; what rows mean is the training job's.

    for batch in LeasedStream(client, plan, epoch=0):   # a pyarrow.RecordBatch: one global batch
        train(batch)                                    # when the next one is asked for, this one is consumed

Every position is consumed at least once: a block whose consumer died goes to another from its start. What this
consumer has seen it is not given again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from curator.client.block_rows import read_block
from curator.client.windows import Chunk
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, LeaseLostError, WinnowError
from curator.shards.reader import ShardReader

if TYPE_CHECKING:
    from curator.client.rest import Client

__all__ = ["LeasedStream"]

log: Final = logging.getLogger(__name__)
STATE_VERSION: Final = 1


@dataclass(eq=False)
class _Block:
    """A leased stretch of the epoch. lost: another consumer has it now."""

    lease: Mapping[str, Any]
    lost: threading.Event = field(default_factory=threading.Event)
    rows: Chunk | None = None


class LeasedStream:
    """Yields this consumer's share of an epoch, a global batch at a time, in the order of its blocks.

    client: of the server that gives leases. plan: a plan's id, digest or resource. group: who shares the epoch; another
    group reads it for itself. consumer: a name for people. columns: the data's columns wanted, all when None.
    positions: of a block; the group's first consumer decides. lease_s: how long a silent consumer keeps its blocks.
    Each batch's schema metadata tells `winnow.epoch` and `winnow.position`, as a ShardStream's.

    Iterating ends when all of the epoch is acknowledged, by whomever: until then a consumer without work waits, as
    another may die. Raises as ShardStream; a lease that was lost is no error, its block is another consumer's.
    """

    def __init__(
        self,
        client: Client,
        plan: str | Mapping[str, Any],
        epoch: int,
        *,
        group: str = "default",
        consumer: str = "",
        columns: Sequence[str] | None = None,
        positions: int = 16_384,
        lease_s: float = 60.0,
        cache_dir: str | os.PathLike[str] | None = None,
    ):
        view = client.plans.get(plan if isinstance(plan, str) else str(plan["id"]))
        source = client.shard_source(cache_dir)
        self.plan, self.epoch, self.group = EpochPlan.model_validate(view["plan"]), epoch, group
        self.manifest = source.manifest(view["manifest"])
        self.num_lost = 0
        self._plans, self._name, self._consumer = client.plans, str(view["id"]), consumer
        self._columns, self._positions, self._lease_s = columns, positions, lease_s
        self._reader = ShardReader(source, columns=columns)
        self._seen = np.zeros(self.plan.num_batches(epoch), dtype=bool)
        self._held: dict[str, _Block] = {}
        self._done: list[_Block] = []
        self._lock, self._news, self._ended = threading.Lock(), threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._ended.clear()
        with self._kept_alive(), ThreadPoolExecutor(1, "winnow-lease") as ahead:
            try:
                coming = ahead.submit(self._next)
                while (block := coming.result()) is not None:
                    coming = ahead.submit(self._next)
                    yield from self._handed_out(block)
                    self._consumed(block)
            finally:
                self._ended.set()
                self._news.set()

    def standing(self) -> dict[str, Any]:
        """How far the group is."""
        return self._plans.reading(self._name, self.epoch, group=self.group)

    def state_dict(self) -> dict[str, Any]:
        """Which global batches this consumer was given: {version, plan, epoch, group, batches: [[first, stop], …]}."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self._seen, [False]]).astype(np.int8)))
        state = {"version": STATE_VERSION, "plan": self.plan.id, "epoch": self.epoch, "group": self.group}
        return {**state, "batches": edges.reshape(-1, 2).tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Batches given before the state was taken are not given again. Raises ConflictError for another epoch's."""
        told = (state.get("version"), state.get("plan"), state.get("epoch"), state.get("group"))
        own = (STATE_VERSION, self.plan.id, self.epoch, self.group)
        if told != own:
            raise ConflictError(f"the state is of (version, plan, epoch, group) {told}, this stream of {own}")
        self._seen[:] = False
        for first, stop in state["batches"]:
            self._seen[first:stop] = True

    def _next(self) -> _Block | None:
        """A block with its rows; None when the epoch is acknowledged or this stream is left."""
        while not self._ended.is_set():
            self._news.clear()
            with self._lock:
                done = list(self._done)
            found = self._plans.lease(
                self._name,
                self.epoch,
                group=self.group,
                consumer=self._consumer,
                positions=self._positions,
                lease_s=self._lease_s,
                done=[block.lease for block in done],
            )
            lease, reading = found["lease"], found["reading"]
            self._acknowledged(done, found["lost"])
            if lease is not None:
                block = _Block(lease)
                with self._lock:
                    self._held[lease["id"]] = block
                block.rows = self._rows(lease)
                return block
            if reading["done"]:
                return None
            self._news.wait(reading["poll_after_ms"] / 1000)
        return None

    def _rows(self, lease: Mapping[str, Any]) -> Chunk:
        first, stop = lease["first"], lease["stop"]
        try:
            return read_block(self.plan, self.manifest, self._reader, self.epoch, first, stop, self._columns)
        except WinnowError as error:
            error.args = (f"{error} Epoch {self.epoch} stops in the block of positions {first} to {stop}.",)
            raise

    def _handed_out(self, block: _Block) -> Iterator[pa.RecordBatch]:
        """The batches of a block that were not given before, for as long as it is this consumer's."""
        assert block.rows is not None
        size, length, begin = self.plan.global_batch_size, self.plan.num_positions(self.epoch), 0
        known = block.rows.rows.schema.metadata or {}
        for number, end in zip(block.rows.batches.tolist(), block.rows.ends.tolist(), strict=True):
            rows, begin = block.rows.rows.slice(begin, end - begin), end
            if block.lost.is_set():
                return
            if not self._seen[number]:
                self._seen[number] = True
                position = min((number + 1) * size, length)
                told = {b"winnow.epoch": b"%d" % self.epoch, b"winnow.position": b"%d" % position}
                yield rows.replace_schema_metadata({**known, **told})

    def _consumed(self, block: _Block) -> None:
        """The next request for a block acknowledges this one."""
        if block.lost.is_set():
            self._acknowledged([block], [block.lease["id"]])
            return
        with self._lock:
            self._done.append(block)
        self._news.set()

    def _acknowledged(self, blocks: Sequence[_Block], lost: Sequence[str]) -> None:
        for block in blocks:
            if block.lease["id"] in lost:
                self.num_lost += 1
                log.warning("positions %s to %s are read again", block.lease["first"], block.lease["stop"])
        with self._lock:
            for block in blocks:
                self._held.pop(block.lease["id"], None)
                if block in self._done:
                    self._done.remove(block)

    @contextmanager
    def _kept_alive(self) -> Iterator[None]:
        """Heartbeats while the block runs; what is still held at its end is given back."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stopped,), name="winnow-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            for block in self._taken():
                end = self._plans.ack if block in self._done else self._plans.release
                with suppress(WinnowError):  # its lease runs out by itself
                    end(self._name, self.epoch, block.lease, group=self.group)
            self._held.clear()
            self._done.clear()

    def _beat(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._lease_s / 3):
            for block in self._taken():
                try:
                    self._plans.heartbeat(self._name, self.epoch, block.lease, group=self.group, lease_s=self._lease_s)
                except LeaseLostError:
                    block.lost.set()
                except WinnowError as error:
                    log.warning("a heartbeat did not get through, trying again: %s", error)

    def _taken(self) -> list[_Block]:
        with self._lock:
            return [block for block in self._held.values() if not block.lost.is_set()]

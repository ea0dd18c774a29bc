"""A consumer of a leased epoch: what it yields, what it acknowledges, and what happens to what it loses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from curator.catalog import Catalog
from curator.catalog.schema_plans import reading_blocks
from curator.client.block_rows import read_block
from curator.client.leased_stream import LeasedStream
from curator.client.shard_stream import ShardStream
from curator.client.windows import Share, gather
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, IntegrityError, LeaseLostError, RetryableError
from curator.shards import ShardReader, StoreSource
from curator.shards.layout import shard_name
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset

BATCH = 12


class Counter:
    """Stands in for a Client: a real catalog and a real root, without HTTP between."""

    def __init__(self, catalog: Catalog, store: Store, plan: EpochPlan):
        self.catalog, self.store, self.row = catalog, store, None
        catalog.manifests.record("local", plan.manifest, path="m", shards=[])
        self.row = catalog.plans.create("local", plan.manifest, plan.model_dump(mode="json"), digest=plan.id)
        self.length = plan.num_positions(0)
        self.acked: list[int] = []
        self.plans = self

    def shard_source(self, cache_dir: Any = None) -> StoreSource:
        return StoreSource(self.store)

    def get(self, plan: str) -> dict[str, Any]:
        return {"id": self.row.id, "manifest": self.row.manifest, "plan": self.row.plan}

    def lease(
        self, plan: str, epoch: int, *, group: str, consumer: str, positions: int, lease_s: float, done: Any
    ) -> Any:
        sizes = {"block_positions": positions // BATCH * BATCH, "num_positions": self.length}
        reading = self.catalog.readings.open("local", plan, epoch, group, **sizes)
        pairs = [(lease["id"], lease["fence"]) for lease in done]
        found, lost = self.catalog.readings.exchange(reading, consumer, lease_s, pairs)
        self.acked += [lease["first"] for lease in done if lease["id"] not in lost]
        lease = None if found is None else found.model_dump()
        return {"lease": lease, "lost": lost, "reading": self.reading(plan, epoch, group=group)}

    def reading(self, plan: str, epoch: int, *, group: str) -> dict[str, Any]:
        standing = self.catalog.readings.standing(self.catalog.readings.get("local", plan, epoch, group))
        return {**standing.model_dump(), "done": standing.done, "poll_after_ms": 20}

    def heartbeat(self, plan: str, epoch: int, lease: Any, *, group: str, lease_s: float) -> None:
        reading = self.catalog.readings.get("local", plan, epoch, group)
        self.catalog.readings.heartbeat("local", reading, lease["id"], lease["fence"], lease_s)

    def ack(self, plan: str, epoch: int, lease: Any, *, group: str) -> None:
        reading = self.catalog.readings.get("local", plan, epoch, group)
        self.catalog.readings.ack("local", reading, lease["id"], lease["fence"])
        self.acked.append(lease["first"])

    def release(self, plan: str, epoch: int, lease: Any, *, group: str) -> None:
        reading = self.catalog.readings.get("local", plan, epoch, group)
        self.catalog.readings.release("local", reading, lease["id"], lease["fence"])

    def expire(self) -> None:
        late = sa.update(reading_blocks).where(reading_blocks.c.lease_until.is_not(None))
        with self.catalog.database.write() as connection:
            connection.execute(late.values(lease_until=reading_blocks.c.created_at - 60.0))


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    store = Store.open(tmp_path / "root")
    plan = EpochPlan.of(write_dataset(store, kept=600).manifest, num_epochs=1, global_batch_size=BATCH, seed=3)
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        yield Counter(catalog, store, plan)


def stream(counter: Any, **more: Any) -> LeasedStream:
    return LeasedStream(counter, counter.row.id, 0, **{"positions": 5 * BATCH, "lease_s": 30.0, **more})


def numbers(batches: Any) -> list[list[int]]:
    return [batch["number"].to_pylist() for batch in batches]


def whole(counter: Counter) -> list[list[int]]:
    plan = EpochPlan.model_validate(counter.row.plan)
    one = ShardStream(counter.store, plan.manifest, num_epochs=1, global_batch_size=BATCH, seed=3)
    assert one.plan.id == plan.id
    return numbers(one.iter_batches())


@pytest.mark.parametrize("shuffle", ["full", "window", "none"])
@pytest.mark.parametrize("tail", ["drop", "pad", "short"])
def test_a_block_is_what_the_walk_gives(tmp_path: Path, shuffle: Any, tail: Any) -> None:
    store = Store.open(tmp_path / "root")
    manifest = write_dataset(store, kept=400).manifest
    plan = EpochPlan.of(manifest, num_epochs=2, global_batch_size=16, epoch_size=105, shuffle=shuffle, tail=tail)
    reader, length = ShardReader(store), plan.num_positions(1)
    walked = [draft.chunk().rows for draft in gather(plan, manifest, reader, 1, Share(0, 16))]
    expected = [row for rows in walked for row in rows.to_pylist()]
    found = []
    for first in range(0, length, 48):
        chunk = read_block(plan, manifest, reader, 1, first, min(first + 48, length))
        assert chunk.ends[-1] == chunk.rows.num_rows and len(chunk.batches) == len(chunk.ends)
        found += chunk.rows.to_pylist()
    assert len(found) == length and [row["difficulty"] for row in found] == [row["difficulty"] for row in expected]
    real = [place for place, row in enumerate(found) if row["difficulty"] is not None]
    assert [found[place] for place in real] == [expected[place] for place in real]


def test_alone_it_gives_the_epoch_in_order_and_acknowledges_all(counter: Counter) -> None:
    one = stream(counter, columns=["number"])
    batches = list(one)
    assert numbers(batches) == whole(counter)
    assert batches[0].schema.names == ["number", "difficulty"]
    assert [ShardStream.position(batch) for batch in batches] == [BATCH * (n + 1) for n in range(len(batches))]
    assert one.standing()["done"] and sorted(counter.acked) == list(range(0, counter.length, 5 * BATCH))
    assert list(one) == [], "what is acknowledged is not read again"


def test_two_share_it(counter: Counter) -> None:
    found: dict[str, list[list[int]]] = {"one": [], "two": []}
    turn = threading.Barrier(2)

    def consume(name: str) -> None:
        turn.wait()
        found[name] = numbers(stream(counter, consumer=name))

    threads = [threading.Thread(target=consume, args=(name,)) for name in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found["one"] + found["two"]) == sorted(whole(counter))


def test_a_block_is_acknowledged_only_after_its_last_batch_is_used(counter: Counter) -> None:
    batches = iter(stream(counter))
    for _ in range(5):
        next(batches)
    assert counter.acked == []
    next(batches)
    deadline = time.monotonic() + 30
    while counter.acked != [0] and time.monotonic() < deadline:  # with the request for the block after the next
        time.sleep(0.005)
    assert counter.acked == [0]
    batches.close()  # type: ignore[attr-defined]
    assert stream(counter).standing()["leased"] == 0, "what is held is given back"


def test_what_was_seen_is_not_given_again_not_even_after_a_restart(counter: Counter) -> None:
    first, seen = stream(counter), []
    for batch in first:
        seen.append(batch["number"].to_pylist())
        if len(seen) == 7:
            break
    state = first.state_dict()
    assert state["batches"] == [[0, 7]]
    second = stream(counter)
    second.load_state_dict(state)
    rest = numbers(second)
    assert seen + rest == whole(counter)
    assert sorted(counter.acked) == list(range(0, counter.length, 5 * BATCH))
    for wrong in ({**state, "epoch": 1}, {**state, "plan": "epl_other"}, {**state, "group": "others"}):
        with pytest.raises(ConflictError, match="the state is of"):
            second.load_state_dict(wrong)


def test_a_lost_block_is_not_acknowledged_and_its_new_holder_reads_all_of_it(counter: Counter) -> None:
    slow = stream(counter, consumer="slow")
    batches = iter(slow)
    mine = [next(batches)["number"].to_pylist() for _ in range(2)]
    while slow.standing()["leased"] < 2:  # the next block is fetched while one is used
        time.sleep(0.005)
    counter.expire()
    quick = iter(stream(counter, consumer="quick"))
    theirs = [next(quick)["number"].to_pylist() for _ in range(5)]
    assert theirs == whole(counter)[:5] and mine == theirs[:2]
    theirs += [batch["number"].to_pylist() for batch in quick]
    rest = [batch["number"].to_pylist() for batch in batches]
    assert slow.num_lost >= 1
    assert sorted(theirs) == sorted(whole(counter)) and all(batch in theirs for batch in mine + rest)


def test_heartbeats_keep_a_block_and_say_when_it_is_lost(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = threading.Event()
    real, failures = counter.heartbeat, iter([RetryableError("busy"), LeaseLostError("gone")])

    def heartbeat(*arguments: Any, **named: Any) -> None:
        beats.set()
        real(*arguments, **named)
        error = next(failures, None)
        if error is not None:
            raise error

    monkeypatch.setattr(counter, "heartbeat", heartbeat)
    one = stream(counter, lease_s=0.15)
    batches = iter(one)
    next(batches)
    assert beats.wait(10)
    while next(failures, None) is not None:  # until both were raised
        pass
    got = 1 + sum(1 for _ in batches)
    assert got == len(whole(counter)), "a busy server costs nothing"


def test_a_damaged_shard_stops_it_and_says_where(counter: Counter) -> None:
    manifest = StoreSource(counter.store).manifest(counter.row.manifest)
    info = manifest.shards[0]
    raw = bytearray(counter.store.read_bytes(shard_name(info.digest)))
    raw[info.batch_offsets[0] + 40] ^= 1
    counter.store.write_bytes(shard_name(info.digest), bytes(raw))
    with pytest.raises(IntegrityError, match=rf"{info.digest}.*Epoch 0 stops in the block of positions"):
        list(stream(counter))
    reading = counter.catalog.readings.get("local", counter.row.id, 0, "default")
    assert counter.catalog.readings.standing(reading).leased == 0
    assert np.all(np.diff(sorted(counter.acked)) > 0)

"""The simulation against the slow twin: a real stream over a real cache, counted."""

import itertools
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.client.shard_stream import ShardStream
from curator.client.simulation import simulate
from curator.client.sources import RemoteStoreSource
from curator.errors import RequestError
from curator.shards import StoreSource
from curator.shards.layout import index_name
from curator.shards.reader import ShardReader
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset

BATCH = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store, kept=700, target_bytes=1500).manifest


@pytest.fixture(scope="module", autouse=True)
def small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator.epochs.plan.BLOCK_BYTES", 100)
        patch.setattr("curator.client.windows.CHUNK_ROWS", 24)
        ticks, touch = itertools.count(time.time_ns(), 1000), os.utime
        # the clock of files ticks every few milliseconds, too coarse to tell which was used last here
        patch.setattr("curator.client.cache.os.utime", lambda path: touch(path, ns=(next(ticks),) * 2))
        yield


class Counting:
    """Counts what a cached source brings from its origin."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.shards, self.num_bytes = [], 0

    def _copy(self, kind, digest, file):
        super()._copy(kind, digest, file)
        self.num_bytes += file.tell()
        if kind == "shards":
            self.shards.append(digest)


class Remote(Counting, RemoteStoreSource):
    """With a cache: only what it lacks is fetched, and counted. What goes from it goes at once, not a little later."""

    def shard(self, digest):
        data = super().shard(digest)
        self._cache.settle()
        return data

    def index(self, digest):
        data = super().index(digest)
        self._cache.settle()
        return data


class Direct(StoreSource):
    """Without a cache: every opening is a fetch."""

    def __init__(self, store):
        super().__init__(store)
        self.shards, self.num_bytes = [], 0

    def shard(self, digest):
        self.shards.append(digest)
        return super().shard(digest)


OPTIONS = st.fixed_dictionaries(
    {
        "shuffle": st.sampled_from(["full", "window", "none"]),
        "curriculum": st.sampled_from(["staged", "constant"]),
        "seed": st.integers(0, 3),
        "tail": st.sampled_from(["drop", "short", "pad"]),
    }
)


@given(
    OPTIONS, st.sampled_from([(0, 1), (1, 3)]), st.sampled_from([None, 0, 9000, 30_000]), st.sampled_from([1, 5, 256])
)
@settings(max_examples=30, deadline=None)
def test_fetches_are_those_of_a_stream(made, tmp_path_factory, options, place, limit, max_open):
    store, manifest = made
    rank, world_size = place
    source = Direct(store) if limit == 0 else Remote(store, tmp_path_factory.mktemp("cache"), cache_limit_bytes=limit)
    stream = ShardStream(
        source, manifest, num_epochs=2, global_batch_size=BATCH, rank=rank, world_size=world_size, **options
    )
    stream._rows = lambda: reader
    reader = ShardReader(source, num_threads=1, max_open=max_open)
    rows = sum(batch.num_rows for batch in stream)
    found = simulate(
        stream.plan,
        manifest,
        0,
        bytes_per_s=1e6,
        rows_per_s=1e3,
        cache_limit_bytes=limit,
        rank=rank,
        world_size=world_size,
        max_open=max_open,
        index_bytes=lambda info: store.size(index_name(info.index)),
    )
    assert found.fetches == len(source.shards) and found.shards == len(set(source.shards))
    assert found.rows == rows
    if limit != 0:
        assert found.bytes_fetched == source.num_bytes
    if limit is None:
        assert found.fetches == found.shards


def test_time_is_the_slower_of_line_and_training(made):
    _, manifest = made
    plan = ShardStream(*made, num_epochs=2, global_batch_size=BATCH).plan

    def epoch(bytes_per_s, rows_per_s):
        return simulate(plan, manifest, 0, bytes_per_s=bytes_per_s, rows_per_s=rows_per_s)

    quick = epoch(1e12, 1000)
    assert quick.stall_s == pytest.approx(0, abs=1e-6) and quick.seconds == pytest.approx(quick.rows / 1000, rel=1e-3)
    slow = epoch(10_000, 1e9)
    assert slow.seconds == pytest.approx(slow.bytes_fetched / 10_000, rel=1e-3)
    both = epoch(20_000, 300)
    assert both.seconds == pytest.approx(both.first_batch_s + both.stall_s + both.rows / 300)
    assert max(both.rows / 300, both.bytes_fetched / 20_000) <= both.seconds
    assert both.seconds <= both.rows / 300 + both.bytes_fetched / 20_000


def test_requests_that_make_no_sense(made):
    plan = ShardStream(*made, num_epochs=2, global_batch_size=BATCH).plan
    with pytest.raises(RequestError, match="must be above zero"):
        simulate(plan, made[1], 0, bytes_per_s=0, rows_per_s=1)
    with pytest.raises(RequestError, match="is a plan of"):
        simulate(plan, made[1].model_copy(update={"dataset_version": "other"}), 0, bytes_per_s=1, rows_per_s=1)
    with pytest.raises(RequestError, match="epoch 2"):
        simulate(plan, made[1], 2, bytes_per_s=1, rows_per_s=1)

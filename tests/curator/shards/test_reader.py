"""Reading: every live row once, any row by place, and no damaged byte unnoticed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import IntegrityError, NotFoundError, RequestError
from curator.shards import Manifest, ShardReader, StoreSource
from curator.shards.layout import index_name, shard_name
from curator.storage import Store
from tests.curator.shards.dataset import sample_id, write_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store)


def test_every_live_row_once_in_stored_order(made):
    store, dataset = made
    assert len(dataset.manifest.shards) > 5
    table = pa.Table.from_batches(ShardReader(store).iter_batches(dataset.manifest.id))
    assert table.equals(dataset.kept.cast(table.schema))
    names = pa.Table.from_batches(ShardReader(store).iter_batches(dataset.manifest, ["text", "number"]))
    assert names.equals(dataset.kept.select(["text", "number"]))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_take_gives_rows_by_place_in_order(made, data):
    store, dataset = made
    numbers = data.draw(st.lists(st.integers(0, 559), min_size=1, max_size=30))
    starts = np.cumsum([0, *[info.rows for info in dataset.manifest.shards]])
    shards = np.searchsorted(starts, numbers, side="right") - 1
    places = np.stack([shards, np.array(numbers) - starts[shards]], axis=1)
    got = ShardReader(store, cache_bytes=data.draw(st.sampled_from([0, 2000, 10**6]))).take(
        dataset.manifest, places, ["number"]
    )
    assert got["number"].to_pylist() == numbers


class Asked:
    """Keeps nothing; the first of each of six threads wait for each other."""

    def __init__(self):
        self.keys, self._begun, self._all = [], threading.local(), threading.Barrier(6)

    def of(self, key, make):
        self.keys.append(key)
        if not hasattr(self._begun, "yes"):
            self._begun.yes = True
            self._all.wait(30)
        return make(), False


def test_readers_that_take_turns_begin_with_different_record_batches(made):
    store, dataset = made
    places = [(shard, 0) for shard, info in enumerate(dataset.manifest.shards) if info.rows]
    asked = Asked()
    readers = [ShardReader(store, decoded=asked, turn=(number, 3), num_threads=2) for number in range(3)]
    with ThreadPoolExecutor(3) as threads:
        rows = list(threads.map(lambda reader: reader.take(dataset.manifest, places, ["number"]), readers))
    assert rows[0].equals(rows[1]) and rows[0].equals(rows[2])
    assert rows[0].equals(ShardReader(store).take(dataset.manifest, places, ["number"]))
    assert len(set(asked.keys[:6])) == 6
    assert len(asked.keys) == 3 * len(places) == 3 * len(set(asked.keys))


def test_take_nothing_keeps_the_schema(made):
    store, dataset = made
    assert ShardReader(store).take(dataset.manifest, [], ["text"]).schema.names == ["text"]


def test_locate_finds_living_and_quarantined_rows(made):
    store, dataset = made
    reader = ShardReader(store)
    numbers = [0, 499, 500, 559, 250]
    places = reader.locate(dataset.manifest, pa.array([sample_id(n) for n in numbers], pa.binary(16)))
    assert reader.take(dataset.manifest, places, ["number"])["number"].to_pylist() == numbers
    with pytest.raises(NotFoundError, match=sample_id(10**6).hex()):
        reader.locate(dataset.manifest, pa.array([sample_id(1), sample_id(10**6)], pa.binary(16)))


def test_unknown_columns_and_places_are_refused(made):
    store, dataset = made
    with pytest.raises(RequestError, match="no column 'nope'"):
        next(ShardReader(store).iter_batches(dataset.manifest, ["nope"]))
    for place in ((99, 0), (0, 10**6), (-1, 0)):
        with pytest.raises(NotFoundError, match="no row"):
            ShardReader(store).take(dataset.manifest, [place])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_flipped_bit_is_an_integrity_error(tmp_path_factory, data):
    store = Store.open(tmp_path_factory.mktemp("root"))
    dataset = write_dataset(store, kept=60, dropped=0, target_bytes=10**6)
    [info] = dataset.manifest.shards
    raw = bytearray(store.read_bytes(shard_name(info.digest)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    store.write_bytes(shard_name(info.digest), bytes(raw))
    with pytest.raises(IntegrityError, match=rf"{info.digest}.*offset \d+"):
        list(ShardReader(store).iter_batches(dataset.manifest))


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_cut_off_shard_is_an_integrity_error(tmp_path, length):
    store = Store.open(tmp_path)
    dataset = write_dataset(store, kept=60, dropped=0)
    info = dataset.manifest.shards[0]
    raw = store.read_bytes(shard_name(info.digest))
    store.write_bytes(shard_name(info.digest), raw[:length])
    with pytest.raises(IntegrityError, match=rf"{info.digest} has {len(raw[:length])} bytes.*offset"):
        list(ShardReader(store).iter_batches(dataset.manifest))


def test_a_damaged_or_missing_index_is_named(tmp_path):
    store = Store.open(tmp_path)
    dataset = write_dataset(store, kept=60, dropped=0)
    name = index_name(dataset.manifest.shards[0].index)
    raw = bytearray(store.read_bytes(name))
    raw[len(raw) // 2] ^= 1
    store.write_bytes(name, bytes(raw))
    with pytest.raises(IntegrityError, match=dataset.manifest.shards[0].index):
        list(ShardReader(store).iter_batches(dataset.manifest))
    store.delete(name)
    with pytest.raises(NotFoundError, match="missing"):
        list(ShardReader(store).iter_batches(dataset.manifest))


def test_a_bad_copy_is_discarded_and_fetched_once_more(made, tmp_path):
    """A source whose copies can be fetched again heals itself; one whose origin is bad too says so."""
    store, dataset = made

    class Flaky(StoreSource):
        bad, discarded = 1, 0

        def shard(self, digest):
            raw = bytearray(super().shard(digest))
            if self.bad > 0:
                raw[dataset.manifest.shards[0].batch_offsets[0] + 40] ^= 4
            return pa.py_buffer(bytes(raw))

        def discard(self, digest):
            self.bad -= 1
            self.discarded += 1
            return True

    source = Flaky(store)
    rows = ShardReader(source).take(dataset.manifest, [(0, 0)], ["number"])
    assert rows["number"].to_pylist() == [0] and source.discarded == 1
    source.bad = 5
    with pytest.raises(IntegrityError, match="offset"):
        ShardReader(source).take(dataset.manifest, [(0, 0)])


def test_an_empty_manifest_reads_as_nothing(tmp_path):
    manifest = Manifest(columns=())
    manifest.save(Store.open(tmp_path))
    assert list(ShardReader(str(tmp_path)).iter_batches(manifest.id)) == []

"""Compaction: fewer shards, the same rows in the same order, with the same past and the same future."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import IntegrityError, RequestError
from curator.shards import Manifest, Override, ShardReader, override
from curator.shards.compaction import compact, merging
from curator.shards.layout import shard_name
from curator.storage import Store
from tests.curator.shards.dataset import sample_id, write_dataset

KEPT, DROPPED = 200, 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset whose rows were overturned in every way."""
    store = Store.open(tmp_path_factory.mktemp("root"))
    dataset = write_dataset(store, kept=KEPT, dropped=DROPPED, target_bytes=1500)
    changes = [Override(sample_id=sample_id(n).hex(), action="drop") for n in range(0, KEPT, 7)]
    changes += [Override(sample_id=sample_id(n).hex(), action="relabel", label=8) for n in range(1, KEPT, 11) if n % 7]
    changes += [Override(sample_id=sample_id(n).hex(), action="keep") for n in range(KEPT + 3, KEPT + DROPPED, 5)]
    return store, override(dataset.manifest, store, changes)


def rows(store, manifest) -> pa.Table:
    return pa.Table.from_batches(ShardReader(store).iter_batches(manifest))


def facts(store, manifest) -> dict[str, np.ndarray]:
    """Of every row ever written, in order: difficulty, whether it lives, whether its shard is quarantine."""
    reader = ShardReader(store)
    parts = [(reader.open(manifest, n).index.difficulty_of_rows(i.rows), i) for n, i in enumerate(manifest.shards)]
    return {
        "difficulty": np.concatenate([difficulty for (difficulty, _), _ in parts]),
        "live": np.concatenate([live for (_, live), _ in parts]),
        "quarantine": np.concatenate([np.full(info.rows, info.quarantine) for _, info in parts]),
    }


@given(st.integers(1500, 12_000), st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_read_stays_what_it_was(made, target_bytes, data):
    store, manifest = made
    small = data.draw(st.integers(1, target_bytes))
    child = compact(manifest, store, small_bytes=small, target_bytes=target_bytes)
    assert rows(store, child).equals(rows(store, manifest))
    before, after = facts(store, manifest), facts(store, child)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert child.live == manifest.live and child.columns == manifest.columns and child.label == manifest.label
    assert sum(i.num_relabeled for i in child.shards) == sum(i.num_relabeled for i in manifest.shards)
    if child is manifest:
        assert all(len(group) == 1 for group in merging(manifest, small, target_bytes))
    else:
        assert child.parent == manifest.id and len(child.shards) < len(manifest.shards)
        assert Manifest.load(store, child.id) == child
    assert compact(manifest, store, small_bytes=small, target_bytes=target_bytes).id == child.id


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), max_size=12), st.integers(1, 99), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_groups_hold_all_shards_in_order_and_only_small_ones_of_a_kind(made, shapes, small, more):
    target = small + more
    base = made[1].shards[0]
    shards = tuple(base.model_copy(update={"bytes": size, "quarantine": bad}) for size, bad in shapes)
    groups = list(merging(made[1].model_copy(update={"shards": shards}), small, target))
    assert [number for group in groups for number in group] == list(range(len(shards)))
    for group in groups:
        if len(group) > 1:
            assert len({shards[n].quarantine for n in group}) == 1
            assert all(shards[n].bytes < small for n in group) and sum(shards[n].bytes for n in group) <= target


def test_verdicts_can_be_overturned_after_it(made):
    store, manifest = made
    child = compact(manifest, store, target_bytes=8000)
    assert len(child.shards) < len(manifest.shards) / 2
    changes = [
        Override(sample_id=sample_id(0).hex(), action="keep"),
        Override(sample_id=sample_id(KEPT + 1).hex(), action="keep"),
        Override(sample_id=sample_id(1).hex(), action="keep"),
        Override(sample_id=sample_id(2).hex(), action="drop"),
    ]
    one, two = override(manifest, store, changes), override(child, store, changes)
    assert rows(store, two).equals(rows(store, one)) and two.live == one.live


def test_a_second_time_there_is_nothing_to_do(made):
    store, manifest = made
    child = compact(manifest, store, small_bytes=9000, target_bytes=9000)
    again = compact(child, store, small_bytes=2000, target_bytes=9000)
    while again is not child:  # leftovers at the edges may still fit together
        assert len(again.shards) < len(child.shards)
        child, again = again, compact(again, store, small_bytes=2000, target_bytes=9000)
    assert rows(store, again).equals(rows(store, manifest))


def test_sizes_that_are_none(made):
    for small, target in ((0, 10), (11, 10), (-1, 10)):
        with pytest.raises(RequestError, match="not within 1 to target_bytes 10"):
            compact(made[1], made[0], small_bytes=small, target_bytes=target)


def test_a_damaged_shard_is_never_written_again(tmp_path):
    store = Store.open(tmp_path)
    manifest = write_dataset(store, kept=KEPT, target_bytes=1500).manifest
    info = manifest.shards[2]
    raw = bytearray(store.read_bytes(shard_name(info.digest)))
    raw[info.batch_offsets[1] + 20] ^= 1
    store.write_bytes(shard_name(info.digest), bytes(raw))
    before = [name for name in store.list() if name.startswith("manifests")]
    with pytest.raises(IntegrityError, match=f"{info.digest}, offset {info.batch_offsets[1]}"):
        compact(manifest, store, target_bytes=8000)
    assert [name for name in store.list() if name.startswith("manifests")] == before

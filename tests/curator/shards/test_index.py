"""The index: live rows by difficulty in id order, and nothing unnoticed."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.difficulty import UNKNOWN
from curator.errors import IntegrityError
from curator.shards import ShardIndex, write_index
from curator.shards.layout import index_name
from curator.storage import Store


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, UNKNOWN]), st.booleans()), max_size=40), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_round_trip(rows, seed):
    difficulty = np.array([d for d, _ in rows], dtype=np.uint8)
    live = np.array([alive and d != UNKNOWN for d, alive in rows], dtype=bool)
    ids = np.random.default_rng(seed).integers(0, 256, (len(rows), 16), dtype=np.uint8)
    index = ShardIndex.from_buffer(pa.py_buffer(ShardIndex.build(difficulty, live, ids).to_bytes()), "x")
    for code in range(3):
        mine = [i for i in range(len(rows)) if live[i] and difficulty[i] == code]
        assert index.by_difficulty[code].tolist() == sorted(mine, key=lambda i: ids[i].tobytes())
        assert index.by_row[code].tolist() == mine
    assert index.live_rows.tolist() == np.flatnonzero(live).tolist()
    back = index.difficulty_of_rows(len(rows))
    assert back[0].tolist() == difficulty.tolist() and back[1].tolist() == live.tolist()


def test_written_under_its_digest_and_mappable_without_a_copy(tmp_path):
    store = Store.open(tmp_path)
    ids = np.arange(48, dtype=np.uint8).reshape(3, 16)
    digest, live = write_index(store, np.array([2, 0, 1], np.uint8), np.ones(3, bool), ids)
    assert live == (1, 1, 1) and store.list() == [index_name(digest)]
    data = store.open_input(index_name(digest)).read_buffer()
    rows = ShardIndex.from_buffer(data, digest).by_difficulty[2]
    assert data.address <= rows.__array_interface__["data"][0] < data.address + data.size


def test_what_cannot_be_is_refused():
    ids = np.zeros((2, 16), dtype=np.uint8)
    with pytest.raises(ValueError, match="row 1 lives but has difficulty 255"):
        ShardIndex.build(np.array([0, 255], np.uint8), np.ones(2, bool), ids)
    with pytest.raises(ValueError, match="1 difficulties, 2 live flags, 2 sample ids"):
        ShardIndex.build(np.array([0], np.uint8), np.ones(2, bool), ids)
    with pytest.raises(IntegrityError, match="index bad"):
        ShardIndex.from_buffer(pa.py_buffer(b"nothing like it"), "bad")
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"easy": [[1]]})
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(IntegrityError, match="version None"):
        ShardIndex.from_buffer(sink.getvalue(), "old")

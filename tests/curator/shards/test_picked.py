"""Picked rows: any order out of any number of slabs."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.shards.batch_cache import BatchCache
from curator.shards.picked import Picked


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from([1, 60, 10**6]), st.data())
@settings(max_examples=100, deadline=None)
def test_take_is_indexing(sizes, slab_bytes, data):
    total = sum(sizes)
    parts, first = [], 0
    for size in sizes:
        parts.append(pa.record_batch({"n": pa.array(range(first, first + size), pa.int64())}))
        first += size
    order = np.array(data.draw(st.permutations(range(total))))
    picked = Picked(parts, order, slab_bytes=slab_bytes)
    index = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=12))
    assert picked.take(np.array(index))["n"].to_pylist() == order[index].tolist()


def batch(number: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array([number] * 10, pa.int64())})


def test_the_cache_is_bounded_and_hits_under_a_circle():
    cache = BatchCache(5 * 80)
    hits = 0
    for turn in range(40):
        for key in range(10):
            found = cache.get(key)
            if found is None:
                cache.put(key, batch(key))
            else:
                hits += turn > 3
                assert found["n"][0].as_py() == key
            assert cache.num_bytes <= cache.max_bytes
    assert hits > 36 * 10 * 0.25, "the least recently used rule would never hit here"


@pytest.mark.parametrize("max_bytes", [0, 79])
def test_what_is_larger_than_the_cache_is_not_kept(max_bytes):
    cache = BatchCache(max_bytes)
    cache.put("a", batch(1))
    assert cache.get("a") is None and cache.num_bytes == 0

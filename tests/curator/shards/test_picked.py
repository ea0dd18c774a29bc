"""Picked rows: any rows of any batches, in any order, equal to Arrow's own take."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.shards.batch_cache import BatchCache
from curator.shards.picked import Chosen, pick, together

WORDS = st.none() | st.text(max_size=30) | st.sampled_from(["", "a" * 12, "b" * 13, "c" * 400, "é" * 6])
ROWS = st.lists(
    st.tuples(WORDS, st.none() | st.integers(-9, 9), st.integers(0, 2**40), st.none() | st.lists(st.integers(0, 5))),
    min_size=1,
    max_size=12,
)
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "data": pa.binary(),
        "some": pa.int8(),
        "number": pa.int64(),
        "tokens": pa.list_(pa.int32()),
        "flag": pa.bool_(),
        "id": pa.binary(16),
        "when": pa.timestamp("us"),
        "long": pa.large_string(),
        "half": pa.float16(),
    }
)


def table(rows) -> pa.RecordBatch:
    texts, some, numbers, lists = zip(*rows, strict=True)
    columns = {
        "text": texts,
        "data": [None if text is None else text.encode() for text in texts],
        "some": some,
        "number": numbers,
        "tokens": lists,
        "flag": [n is None for n in some],
        "id": [n.to_bytes(16, "big") for n in numbers],
        "when": numbers,
        "long": texts,
        "half": np.array([n % 100 for n in numbers], dtype=np.float16),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@given(st.lists(ROWS, min_size=1, max_size=4), st.data())
@settings(max_examples=120, deadline=None)
def test_any_rows_of_any_batches_in_any_order(batches, data):
    """Slices with offsets among them; what Arrow's concat and take give is the slow twin."""
    parts = []
    for rows in batches:
        cut = data.draw(st.integers(0, len(rows) - 1))
        parts.append(table(rows).slice(cut))
    rows = [data.draw(st.lists(st.integers(0, part.num_rows - 1), max_size=8)) for part in parts]
    num_rows = sum(map(len, rows))
    places = np.array(data.draw(st.permutations(range(num_rows))), dtype=np.int64)
    groups = np.split(places, np.cumsum([len(r) for r in rows])[:-1])
    picked = pick(SCHEMA, num_rows, [Chosen(*c) for c in zip(parts, groups, map(ints, rows), strict=True)])
    in_order = pa.Table.from_batches([part.take(pa.array(r, pa.int64())) for part, r in zip(parts, rows, strict=True)])
    expected = in_order.take(np.argsort(places))
    assert pa.Table.from_batches([picked.take(np.arange(num_rows))]).equals(expected)
    order = ints(data.draw(st.lists(st.integers(0, 2 * num_rows - 1), max_size=12)) if num_rows else [])
    found = together([picked, picked], order)
    found.validate(full=True)
    assert pa.Table.from_batches([found]).equals(pa.concat_tables([expected, expected]).take(order))
    if num_rows:
        low = data.draw(st.integers(0, num_rows - 1))
        assert (
            picked.slice(low, num_rows - low)
            .take(np.arange(num_rows - low))
            .equals(picked.take(np.arange(low, num_rows)))
        )


def ints(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_a_row_that_is_not_there_is_refused():
    picked = pick(SCHEMA, 1, [Chosen(table([("a", 1, 2, None)]), np.array([0]), np.array([0]))])
    for bad in (-1, 1):
        with pytest.raises(IndexError, match="of 1"):
            picked.take(np.array([bad]))


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

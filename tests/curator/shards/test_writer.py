"""Shards: the same rows give the same bytes; batches are where and what the manifest says."""

import random
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.digest import sha256_hex
from curator.errors import InputError
from curator.shards import ShardWriter
from curator.shards.layout import shard_name
from curator.shards.writer import BATCH_BYTES, TARGET_BYTES
from curator.storage import Store
from tests.curator.shards.dataset import rows


def write(store, batches, schema, **options):
    writer = ShardWriter(store, schema, **options)
    for batch in batches:
        writer.write(batch)
    return writer.close()


def test_row_groups_are_4096_and_offsets_point_at_them(tmp_path):
    store, table = Store.open(tmp_path), rows(range(10_000))
    [info] = write(store, table.to_batches(max_chunksize=999), table.schema)
    data = store.read_bytes(shard_name(info.digest))
    assert (info.rows, info.bytes, info.num_batches) == (10_000, len(data), 3)
    assert sha256_hex(data) == info.digest
    reader = pa.ipc.open_file(pa.BufferReader(data))
    assert [reader.get_batch(i).num_rows for i in range(3)] == [4096, 4096, 1808]
    assert reader.schema.metadata is None
    assert reader.read_all().equals(table.cast(reader.schema))
    for i in range(3):
        part = data[info.batch_offsets[i] : info.batch_offsets[i + 1]]
        assert zlib.crc32(part) == info.batch_checksums[i]
        message = pa.ipc.read_message(pa.BufferReader(part))
        assert pa.ipc.read_record_batch(message, reader.schema).equals(reader.get_batch(i))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_equal_rows_equal_digests_however_batched(tmp_path_factory, cuts, start):
    store = Store.open(tmp_path_factory.mktemp("store"))
    table = rows(range(start, start + 150))
    whole = write(store, table.to_batches(), table.schema, batch_rows=32, target_bytes=2500)
    pieces, first = [], 0
    while first < table.num_rows:
        cut = cuts[len(pieces) % len(cuts)]
        pieces += table.slice(first, cut).combine_chunks().to_batches()
        first += cut
    again = write(store, pieces, table.schema, batch_rows=32, target_bytes=2500)
    assert again == whole and len(whole) > 1
    assert len(store.list()) == len(whole)


def test_hidden_values_and_encodings_do_not_show(tmp_path):
    """Garbage under nulls, slack bits, dictionaries, views, extension types and metadata change no byte."""
    store = Store.open(tmp_path)
    ids = rows(range(4))["sample_id"].combine_chunks()
    plain = pa.record_batch(
        {
            "n": pa.array([1, None, 3, None], pa.int64()),
            "s": pa.array(["a", None, "", "ab"]),
            "b": pa.array([True, None, False, True]),
            "l": pa.array([["x"], None, [], ["y", None]], pa.list_(pa.string())),
            "sample_id": ids,
        }
    )
    numbers = pa.Array.from_buffers(
        pa.int64(), 4, [pa.py_buffer(b"\xf5"), pa.py_buffer(np.array([1, 77, 3, 78]).tobytes())]
    )
    texts = pa.Array.from_buffers(
        pa.string(),
        4,
        [pa.py_buffer(b"\x0d"), pa.py_buffer(np.array([0, 1, 4, 4, 6], np.int32).tobytes()), pa.py_buffer(b"aXXXab")],
    )
    lists = pa.array([["x"], None, [], ["y", None]], pa.list_(pa.dictionary(pa.int8(), pa.string())))
    odd = pa.record_batch(
        {
            "n": numbers,
            "s": texts.dictionary_encode(),
            "b": pa.array([False, True, None, False, True])[1:],
            "l": lists,
            "sample_id": ids,
        }
    ).replace_schema_metadata({b"huggingface": b"{}"})
    fields = [pa.field("n", pa.int64(), metadata={b"a": b"b"}), pa.field("s", pa.string_view()), *list(odd.schema)[2:]]
    viewed = pa.record_batch([numbers, texts.cast(pa.string_view()), *odd.columns[2:]], schema=pa.schema(fields))
    digests = {write(store, [batch], batch.schema)[0].digest for batch in (plain, odd, viewed)}
    assert len(digests) == 1


def test_extension_types_are_stored_plain(tmp_path):
    store = Store.open(tmp_path)
    ids = rows(range(2))["sample_id"].combine_chunks()
    values = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(["{}", None]))
    batch = pa.record_batch({"j": values, "sample_id": ids})
    [info] = write(store, [batch], batch.schema)
    table = pa.ipc.open_file(store.open_input(shard_name(info.digest))).read_all()
    assert table.schema.field("j").type == pa.string() and table["j"].to_pylist() == ["{}", None]


def test_heavy_rows_come_in_smaller_record_batches(tmp_path, monkeypatch):
    """At 1,000 bytes a row and 100,000 a batch, 64 rows fit: the same however the rows arrive."""
    monkeypatch.setattr("curator.shards.writer.BATCH_BYTES", 100_000)
    store = Store.open(tmp_path)
    ids = rows(range(300))["sample_id"].combine_chunks()
    heavy = pa.table({"image": pa.array([b"x" * 1000] * 300), "sample_id": ids})
    found = [write(store, heavy.to_batches(max_chunksize=size), heavy.schema) for size in (7, 64, 100, 300)]
    assert all(infos == found[0] for infos in found)
    assert (found[0][0].batch_rows, found[0][0].num_batches) == (64, 5)
    light = rows(range(5000))
    [info] = write(store, light.to_batches(), light.schema)
    assert info.batch_rows == 1024


def test_shards_reach_their_size_and_go_over_it_by_less_than_a_record_batch(tmp_path):
    assert TARGET_BYTES >= 32 * 10**6 and TARGET_BYTES + BATCH_BYTES <= 128 * 2**20
    store, ids = Store.open(tmp_path), rows(range(3000))["sample_id"].combine_chunks()
    noise = pa.array([random.Random(i).randbytes(100) for i in range(3000)])
    table = pa.table({"noise": noise, "sample_id": ids})
    infos = write(store, table.to_batches(), table.schema, target_bytes=40_000, batch_rows=64)
    assert len(infos) > 3 and sum(info.rows for info in infos) == 3000
    for info in infos[:-1]:
        last, end = info.batch_offsets[-2:]
        assert last < 40_000 <= end <= info.bytes


def test_no_rows_no_shards(tmp_path):
    table = rows(range(0))
    assert write(Store.open(tmp_path), table.to_batches(), table.schema) == []
    assert Store.open(tmp_path).list() == []


def test_a_cut_off_file_of_the_same_name_is_replaced(tmp_path):
    store, table = Store.open(tmp_path), rows(range(10))
    [info] = write(store, table.to_batches(), table.schema)
    store.write_bytes(shard_name(info.digest), b"cut")
    assert write(store, table.to_batches(), table.schema) == [info]
    assert sha256_hex(store.read_bytes(shard_name(info.digest))) == info.digest


def test_what_does_not_fit_is_refused(tmp_path):
    store, table = Store.open(tmp_path), rows(range(3))
    with pytest.raises(InputError, match="sample_id"):
        ShardWriter(store, table.drop_columns(["sample_id"]).schema)
    with pytest.raises(InputError, match="appear more than once"):
        ShardWriter(store, pa.schema([*table.schema, table.schema.field(0)]))
    writer = ShardWriter(store, table.drop_columns(["text"]).schema)
    with pytest.raises(InputError, match="'text'"):
        writer.write(table.to_batches()[0])
    writer = ShardWriter(store, table.schema)
    writer.write(table.drop_columns(["text"]).to_batches()[0])
    with pytest.raises(InputError, match="no column 'text'"):
        writer.close()
    writer = ShardWriter(store, table.schema)
    nameless = table.set_column(4, "sample_id", pa.nulls(3, pa.binary(16)))
    writer.write(nameless.to_batches()[0])
    with pytest.raises(InputError, match="3 nulls"):
        writer.close()

"""Arrow IPC: ranges of record batches, streams, and files whose offsets point anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curator.errors import InputError
from curator.readers import Limits, discover, plan_inputs, read, scan

Write = Callable[[str, bytes], str]
TABLE = pa.table(
    {
        "id": pa.array(range(10), pa.int64()),
        "text": pa.array([f"text {number}" for number in range(10)], pa.large_string()),
        "kind": pa.array(["a", "b"] * 5).dictionary_encode(),
        "deep": [[{"x": number}] for number in range(10)],
    }
)


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("unit_rows", [1, 4, 100])
def test_rows_of_a_file_however_it_is_cut(
    write: Write, rows_of: Any, ipc_bytes: Any, compression: str | None, unit_rows: int
) -> None:
    path = write("a.arrow", ipc_bytes(TABLE, compression=compression))
    assert rows_of(path, unit_rows=unit_rows, batch_rows=2) == TABLE.to_pylist()


def test_units_of_a_file_are_ranges_of_record_batches(write: Write, ipc_bytes: Any) -> None:
    info = scan(discover([write("a.arrow", ipc_bytes(TABLE))])[0], unit_rows=5)
    assert [(unit.start, unit.stop, unit.first_row, unit.rows) for unit in info.units] == [(0, 2, 0, 6), (2, 4, 6, 4)]
    assert info.schema.types[:3] == [pa.int64(), pa.string(), pa.string()]


def test_a_stream_is_one_unit(write: Write, rows_of: Any, ipc_bytes: Any) -> None:
    path = write("a.arrows", ipc_bytes(TABLE, stream=True))
    assert len(scan(discover([path])[0], unit_rows=1).units) == 1
    assert rows_of(path) == TABLE.to_pylist()
    assert rows_of(path, columns=["text"]) == TABLE.select(["text"]).to_pylist()


def test_empty_batches_between_others_change_nothing(write: Write, rows_of: Any) -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"a": [1, 2]})
    with pa.ipc.new_file(sink, batch.schema) as writer:
        for part in (batch.slice(0, 0), batch, batch.slice(0, 0), batch, batch.slice(0, 0)):
            writer.write_batch(part)
    path = write("a.arrow", sink.getvalue().to_pybytes())
    assert rows_of(path, unit_rows=2) == [{"a": 1}, {"a": 2}] * 2


@pytest.mark.parametrize(
    ("stream", "kept"),
    [*((False, kept) for kept in (3, 15, 100, -1, -10, -200)), *((True, kept) for kept in (3, 15, 100, -200))],
)
def test_a_file_cut_short_is_named(write: Write, ipc_bytes: Any, stream: bool, kept: int) -> None:
    path = write("a.arrows" if stream else "a.arrow", ipc_bytes(TABLE, stream=stream)[:kept])
    with pytest.raises(InputError) as caught:
        scan(discover([path])[0], unit_rows=5)
    assert caught.value.file == path


def test_file_and_stream_under_the_others_name_are_refused(write: Write, ipc_bytes: Any) -> None:
    for name, stream in (("a.arrow", True), ("b.arrows", False)):
        with pytest.raises(InputError, match="cannot be read as arrow"):
            scan(discover([write(name, ipc_bytes(TABLE, stream=stream))])[0], unit_rows=5)


def test_extension_types_are_refused(write: Write, ipc_bytes: Any) -> None:
    known = pa.table({"u": pa.array([b"0123456789abcdef"], pa.uuid())})
    unknown = pa.table(
        [pa.array(["x"])], schema=pa.schema([pa.field("u", pa.string(), metadata={"ARROW:extension:name": "evil"})])
    )
    for name, table in (("known.arrow", known), ("unknown.arrow", unknown)):
        with pytest.raises(InputError, match="extension type") as caught:
            scan(discover([write(name, ipc_bytes(table))])[0], unit_rows=5)
        assert caught.value.column == "u"


def test_offsets_past_the_buffer_are_an_error_not_a_crash(write: Write, ipc_bytes: Any) -> None:
    data = ipc_bytes(pa.table({"t": ["ab", "cd", "ef"]}))
    good = np.array([0, 2, 4, 6], np.int32).tobytes()
    assert data.count(good) == 1
    bad = np.array([0, 2, 1 << 30, 6], np.int32).tobytes()
    plan = plan_inputs(discover([write("a.arrow", data.replace(good, bad))]), unit_rows=5)
    with pytest.raises(InputError, match="damaged values"):
        list(read(plan.units[0], schema=plan.schema))


def test_invalid_text_names_its_row_in_the_file(write: Write, ipc_bytes: Any, bad_text: pa.Array) -> None:
    table = pa.concat_tables([pa.table({"t": ["fine"] * 3}), pa.table({"t": bad_text})])
    plan = plan_inputs(discover([write("a.arrow", ipc_bytes(table, batch_rows=3))]), unit_rows=3)
    with pytest.raises(InputError, match="UTF-8") as caught:
        list(read(plan.units[1], schema=plan.schema))
    assert caught.value.row == 4


def test_a_dictionary_index_out_of_range_is_an_error(write: Write, ipc_bytes: Any) -> None:
    data = ipc_bytes(pa.table({"d": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), ["a", "b"])}))
    good = np.array([0, 1, 0], np.int32).tobytes() + bytes(4)
    place = data.rindex(good)
    bad = data[:place] + np.array([0, 7, 0], np.int32).tobytes() + data[place + 12 :]
    plan = plan_inputs(discover([write("a.arrow", bad)]), unit_rows=5)
    with pytest.raises(InputError, match="damaged values"):
        list(read(plan.units[0], schema=plan.schema))


def test_caps_on_batches_and_footer(write: Write, ipc_bytes: Any) -> None:
    [source] = discover([write("a.arrow", ipc_bytes(TABLE))])
    with pytest.raises(InputError, match="more than 3 record batches"):
        scan(source, unit_rows=5, limits=Limits(num_row_groups=3))
    with pytest.raises(InputError, match="footer"):
        scan(source, unit_rows=5, limits=Limits(footer_bytes=10))
    [stream] = discover([write("a.arrows", ipc_bytes(TABLE, stream=True))])
    with pytest.raises(InputError, match="more than 3 record batches"):
        scan(stream, unit_rows=5, limits=Limits(num_row_groups=3))


@pytest.mark.parametrize("stream", [False, True])
def test_no_rows_is_an_error(write: Write, ipc_bytes: Any, stream: bool) -> None:
    file = write("a.arrows" if stream else "a.arrow", ipc_bytes(TABLE.slice(0, 0), stream=stream))
    with pytest.raises(InputError, match="no rows"):
        plan_inputs(discover([file]), unit_rows=5)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_decompression_bomb_is_refused_unopened(write: Write, ipc_bytes: Any, stream: bool, dictionary: bool) -> None:
    column = pa.array(["x" * 500_000])
    table = pa.table({"t": column.dictionary_encode() if dictionary else column})
    path = write("a.arrows" if stream else "a.arrow", ipc_bytes(table, stream=stream, compression="zstd"))
    [source] = discover([path])
    assert scan(source, unit_rows=5).rows == 1
    with pytest.raises(InputError, match=r"unpacks \d+ bytes to 5\d{5}: refused as a decompression bomb"):
        scan(source, unit_rows=5, limits=Limits(expansion=20, expansion_free_bytes=10_000))


def test_a_long_value_in_a_dictionary_makes_small_batches(write: Write, ipc_bytes: Any) -> None:
    indices = pa.array([0, 1] * 50, pa.int32())
    table = pa.table({"d": pa.DictionaryArray.from_arrays(indices, ["short", "y" * 10_000])})
    plan = plan_inputs(discover([write("a.arrow", ipc_bytes(table, batch_rows=100))]), unit_rows=100)
    batches = [batch for _, batch in read(plan.units[0], schema=plan.schema, limits=Limits(batch_bytes=50_000))]
    assert max(batch.nbytes for batch in batches) <= 60_000
    assert [row for batch in batches for row in batch.to_pylist()] == table.to_pylist()


def test_a_scan_decompresses_nothing(write: Write, ipc_bytes: Any) -> None:
    data = bytearray(ipc_bytes(pa.table({"t": ["word " * 300] * 50}), batch_rows=50, compression="zstd"))
    frame = data.rindex(b"\x28\xb5\x2f\xfd")  # what a zstd frame begins with
    data[frame + 4 : frame + 12] = b"\xff" * 8
    plan = plan_inputs(discover([write("a.arrow", bytes(data))]), unit_rows=50)
    assert plan.rows == 50
    with pytest.raises(InputError, match="record batch 0 cannot be read"):
        list(read(plan.units[0], schema=plan.schema))

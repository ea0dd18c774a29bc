"""A plan over many files, and real data in every format against the reference reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from curator.errors import InputError
from curator.readers import discover, plan_inputs, read, scan
from curator.sample_id import from_position

Write = Callable[[str, bytes], str]


def test_units_are_numbered_over_the_whole_set_in_input_order(write: Write) -> None:
    first = write("b.jsonl", b'{"a":1}\n' * 5)
    second = write("a.csv", b"a\n7\n8\n")
    plan = plan_inputs(discover([first, second]), unit_rows=2)
    assert [unit.index for unit in plan.units] == [0, 1, 2, 3]
    assert [unit.first_row for unit in plan.units] == [0, 2, 4, 0]
    assert [unit.source.uri for unit in plan.units] == [first] * 3 + [second]
    assert plan.rows == 7
    assert plan.schema == pa.schema([("a", pa.int64())])


def test_parts_without_rows_count_for_nothing_where_others_hold_some(
    write: Write, rows_of: Any, parquet_bytes: Any, ipc_bytes: Any
) -> None:
    table = pa.table({"id": [1, 2], "t": ["x", "y"]})
    none = parquet_bytes(table.slice(0, 0))
    files = [
        write("a.parquet", none),
        write("b.parquet", parquet_bytes(table)),
        write("c.parquet", none),
        write("d.arrows", ipc_bytes(table.slice(0, 0), stream=True)),
    ]
    plan = plan_inputs(discover(files), unit_rows=10)
    assert (plan.rows, [unit.index for unit in plan.units], len(plan.sources)) == (2, [0], 4)
    assert plan.units[0].source.uri == files[1]


def test_a_part_without_rows_still_has_to_have_the_columns(write: Write, parquet_bytes: Any) -> None:
    files = [
        write("a.parquet", parquet_bytes(pa.table({"id": [1]}))),
        write("b.parquet", parquet_bytes(pa.table({"other": pa.array([], pa.int64())}))),
    ]
    with pytest.raises(InputError, match="no such column"):
        plan_inputs(discover(files), unit_rows=10)


def test_a_unit_survives_json(write: Write) -> None:
    [unit] = plan_inputs(discover([write("a.jsonl", b'{"a":1}\n')]), unit_rows=2).units
    assert type(unit).model_validate_json(unit.model_dump_json()) == unit


def test_a_column_that_a_table_lacks_is_an_error_that_names_both_files(write: Write) -> None:
    first, second = write("a.csv", b"id,text\n1,x\n"), write("b.csv", b"id,txt\n2,y\n")
    with pytest.raises(InputError, match=r"has no such column.*give all files the same columns") as caught:
        plan_inputs(discover([first, second]), unit_rows=2)
    assert first in str(caught.value) or second in str(caught.value)


def test_types_that_do_not_go_together_name_both_files(write: Write) -> None:
    first, second = write("a.csv", b"id\n1\n"), write("b.csv", b"id\nx7\n")
    with pytest.raises(InputError, match=r"is string here and int64 in") as caught:
        plan_inputs(discover([first, second]), unit_rows=2)
    assert caught.value.column == "id"
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_formats_mix_when_their_columns_do(write: Write, rows_of: Any, parquet_bytes: Any, ipc_bytes: Any) -> None:
    table = pa.table({"id": pa.array([1, 2], pa.int32()), "t": pa.array(["x", None], pa.large_string())})
    paths = [
        write("a.parquet", parquet_bytes(table)),
        write("b.arrow", ipc_bytes(table)),
        write("c.csv", b"id,t\n1,x\n2,\n"),
        write("d.jsonl", b'{"id":1,"t":"x"}\n{"id":2}\n'),
    ]
    assert rows_of(*paths) == [{"id": 1, "t": "x"}, {"id": 2, "t": None}] * 4


def test_a_byte_for_byte_copy_is_refused(write: Write) -> None:
    first, second = write("a.jsonl", b'{"a":1}\n'), write("b.jsonl", b'{"a":1}\n')
    with pytest.raises(InputError, match="byte-for-byte copy") as caught:
        plan_inputs(discover([first, second]), unit_rows=2)
    assert caught.value.file == second
    assert first in str(caught.value)


def test_unit_rows_below_one_is_a_mistake_of_the_caller(write: Write) -> None:
    with pytest.raises(ValueError, match="unit_rows is 0"):
        scan(discover([write("a.jsonl", b'{"a":1}\n')])[0], unit_rows=0)


def test_a_missing_column_is_told_before_anything_is_read(write: Write) -> None:
    plan = plan_inputs(discover([write("a.jsonl", b'{"text":"x"}\n')]), unit_rows=2)
    with pytest.raises(InputError, match="did you mean 'text'"):
        list(read(plan.units[0], schema=plan.schema, columns=["txt"]))


def test_ids_by_place_do_not_depend_on_unit_size(write: Write) -> None:
    path = write("a.jsonl", b"".join(b'{"a":%d}\n' % number for number in range(50)))

    def ids(unit_rows: int, batch_rows: int) -> list[bytes]:
        plan = plan_inputs(discover([path]), unit_rows=unit_rows)
        return [
            value
            for unit in plan.units
            for first, batch in read(unit, schema=plan.schema, batch_rows=batch_rows)
            for value in from_position(unit.content_digest, first + np.arange(batch.num_rows)).to_pylist()
        ]

    assert ids(3, 2) == ids(50, 7) == ids(1000, 4096)
    assert len(set(ids(3, 2))) == 50


FORMATS = ["parquet", "jsonl", "csv", "arrow", "arrows"]


@pytest.mark.data
@pytest.mark.parametrize("name", ["web_lines_human", "hplt_web_docs_human", "hate_tweets_votes"])
@pytest.mark.parametrize("form", FORMATS)
def test_real_data_comes_back_as_it_is(data: Path, tmp_path: Path, rows_of: Any, name: str, form: str) -> None:
    table = pq.read_table(data / f"{name}.parquet").slice(0, 700)
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(table, path, row_group_size=100)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()))
    elif form == "csv":
        pcsv.write_csv(table, path)
    else:
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    assert rows_of(str(path), unit_rows=150, batch_rows=64) == table.to_pylist()


@pytest.mark.data
def test_images_in_a_column_come_back_as_they_are(data: Path) -> None:
    path = data / "cifar10n.parquet"
    plan = plan_inputs(discover([str(path)]), unit_rows=10_000)
    assert plan.schema.field("image").type == pa.binary()
    first, batch = next(read(plan.units[0], schema=plan.schema, columns=["image", "id"], batch_rows=16))
    assert first == 0
    assert batch.to_pylist() == pq.read_table(path, columns=["image", "id"]).slice(0, 16).to_pylist()

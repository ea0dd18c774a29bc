"""Parquet: units by row groups, hidden schemas ignored, damage and hostile footers refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import InputError
from curator.readers import InputPlan, Limits, discover, plan_inputs, read, scan

Write = Callable[[str, bytes], str]
TABLE = pa.table(
    {
        "id": pa.array(range(20), pa.int64()),
        "text": [f"text {number}" for number in range(20)],
        "image": [bytes([number]) * 3 for number in range(20)],
        "score": pa.array([float("nan"), None, 1.5, -0.0] * 5),
        "tags": [[{"k": "a", "v": 1}], None] * 10,
    }
)


def test_units_are_ranges_of_row_groups_of_about_unit_rows(write: Write, parquet_bytes: Any) -> None:
    path = write("a.parquet", parquet_bytes(TABLE, row_group_size=3))
    info = scan(discover([path])[0], unit_rows=6)
    assert [(unit.start, unit.stop, unit.first_row, unit.rows) for unit in info.units] == [
        (0, 2, 0, 6), (2, 4, 6, 6), (4, 6, 12, 6), (6, 7, 18, 2),
    ]  # fmt: skip
    assert [unit.index for unit in info.units] == [0, 1, 2, 3]
    assert {unit.content_digest for unit in info.units} == {info.digest}
    assert info.rows == 20


@pytest.mark.parametrize("unit_rows", [1, 4, 7, 100])
@pytest.mark.parametrize("batch_rows", [1, 5, 4096])
def test_the_rows_are_the_same_however_the_file_is_cut(
    write: Write, rows_of: Any, parquet_bytes: Any, unit_rows: int, batch_rows: int
) -> None:
    path = write("a.parquet", parquet_bytes(TABLE, row_group_size=3))
    rows = rows_of(path, unit_rows=unit_rows, batch_rows=batch_rows)
    assert repr(rows) == repr(TABLE.to_pylist())  # by text: NaN is not equal to itself


def test_batches_hold_at_most_batch_rows_and_shrink_when_rows_are_wide(write: Write, parquet_bytes: Any) -> None:
    wide = pa.table({"blob": [bytes(1000)] * 64})
    plan = plan_inputs(discover([write("a.parquet", parquet_bytes(wide, use_dictionary=False))]), unit_rows=100)
    sizes = [batch.num_rows for _, batch in read(plan.units[0], schema=plan.schema, batch_rows=50)]
    assert sizes == [50, 14]
    narrow = Limits(batch_bytes=10_000)
    sizes = [batch.num_rows for _, batch in read(plan.units[0], schema=plan.schema, batch_rows=50, limits=narrow)]
    assert max(sizes) <= 10
    assert sum(sizes) == 64


def test_columns_are_projected_in_the_order_asked(write: Write, rows_of: Any, parquet_bytes: Any) -> None:
    path = write("a.parquet", parquet_bytes(TABLE))
    rows = rows_of(path, columns=["text", "id"])
    assert list(rows[3]) == ["text", "id"]
    assert rows[3] == {"text": "text 3", "id": 3}


def test_no_columns_still_counts_rows(write: Write, parquet_bytes: Any) -> None:
    plan = plan_inputs(discover([write("a.parquet", parquet_bytes(TABLE))]), unit_rows=100)
    assert sum(batch.num_rows for _, batch in read(plan.units[0], schema=plan.schema, columns=[])) == 20


def test_large_and_dictionary_types_become_plain_ones(write: Write, parquet_bytes: Any) -> None:
    table = pa.table(
        {
            "t": pa.array(["a", "b"], pa.large_string()),
            "b": pa.array([b"a", b"b"], pa.large_binary()),
            "d": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    plan = plan_inputs(discover([write("a.parquet", parquet_bytes(table))]), unit_rows=10)
    assert plan.schema.types == [pa.string(), pa.binary(), pa.string()]


class Landmine(pa.ExtensionType):
    """An extension type that would run code of the file's choosing when a reader asks for it."""

    went_off = 0

    def __init__(self) -> None:
        super().__init__(pa.string(), "winnow.test.landmine")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"code"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Landmine:
        cls.went_off += 1
        return cls()


def test_a_schema_hidden_in_the_metadata_is_never_deserialized(write: Write, rows_of: Any, parquet_bytes: Any) -> None:
    pa.register_extension_type(Landmine())
    try:
        mine = pa.ExtensionArray.from_storage(Landmine(), pa.array(["boom"]))
        path = write("a.parquet", parquet_bytes(pa.table({"t": mine})))
        assert b"ARROW:schema" in Path(path).read_bytes()
        Landmine.went_off = 0
        pq.read_table(path)
        assert Landmine.went_off, "the file must be armed, or this test proves nothing"
        Landmine.went_off = 0
        assert rows_of(path) == [{"t": "boom"}]
        assert Landmine.went_off == 0
    finally:
        pa.unregister_extension_type("winnow.test.landmine")


def test_a_hidden_schema_of_nonsense_is_no_obstacle(write: Write, rows_of: Any, parquet_bytes: Any) -> None:
    table = pa.table({"a": [1]})
    hidden = base64.b64encode(table.schema.serialize().to_pybytes())
    data = parquet_bytes(table)
    assert hidden[:40] in data
    assert rows_of(write("a.parquet", data.replace(hidden[:40], b"!" * 40))) == [{"a": 1}]


def test_standard_logical_types_come_as_their_storage(write: Write, rows_of: Any, parquet_bytes: Any) -> None:
    table = pa.table({"u": pa.array([b"0123456789abcdef"], pa.uuid())})
    assert rows_of(write("a.parquet", parquet_bytes(table))) == [{"u": b"0123456789abcdef"}]


@pytest.mark.parametrize("kept", [4, 11, 12, 200, -1, -4, -30])
def test_a_file_cut_short_is_named(write: Write, parquet_bytes: Any, kept: int) -> None:
    path = write("a.parquet", parquet_bytes(TABLE)[:kept])
    with pytest.raises(InputError, match="cannot be read as parquet") as caught:
        scan(discover([path])[0], unit_rows=10)
    assert caught.value.file == path


def test_damage_inside_a_row_group_names_it(write: Write, parquet_bytes: Any) -> None:
    data = bytearray(parquet_bytes(TABLE, row_group_size=10))
    data[4:60] = b"\xff" * 56
    plan = plan_inputs(discover([write("a.parquet", bytes(data))]), unit_rows=10)
    with pytest.raises(InputError, match="row group 0 cannot be read"):
        list(read(plan.units[0], schema=plan.schema))


def test_a_footer_larger_than_the_file_or_the_cap_is_refused(write: Write, parquet_bytes: Any) -> None:
    data = parquet_bytes(TABLE)
    lying = write("lie.parquet", data[:-8] + (0x7FFFFFFF).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match="footer of 2147483647 bytes"):
        scan(discover([lying])[0], unit_rows=10)
    with pytest.raises(InputError, match=r"footer .*cap 100"):
        scan(discover([write("a.parquet", data)])[0], unit_rows=10, limits=Limits(footer_bytes=100))


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(num_row_groups=3), "4 row groups, more than the cap of 3"),
        (Limits(num_columns=5), "6 leaf columns, more than the cap of 5"),
        (Limits(nesting_depth=2), "nested deeper than 2"),
        (Limits(expansion=1, expansion_free_bytes=1), "decompression bomb"),
    ],
)
def test_caps_are_checked_before_any_row_is_read(write: Write, parquet_bytes: Any, limits: Limits, word: str) -> None:
    data = (
        parquet_bytes(TABLE, row_group_size=5) if limits.expansion > 1 else parquet_bytes(pa.table({"t": ["a" * 9999]}))
    )
    with pytest.raises(InputError, match=word):
        scan(discover([write("a.parquet", data)])[0], unit_rows=10, limits=limits)


def test_invalid_text_names_row_and_column(write: Write, parquet_bytes: Any, bad_text: pa.Array) -> None:
    table = pa.concat_tables([pa.table({"t": ["fine"] * 5}), pa.table({"t": bad_text})])
    plan = plan_inputs(discover([write("a.parquet", parquet_bytes(table, row_group_size=4))]), unit_rows=4)
    with pytest.raises(InputError, match="not valid UTF-8") as caught:
        for unit in plan.units:
            list(read(unit, schema=plan.schema))
    assert (caught.value.row, caught.value.column) == (6, "t")


def test_a_cell_over_the_cap_names_row_and_column(write: Write, parquet_bytes: Any) -> None:
    table = pa.table({"t": ["x"] * 7 + ["y" * 5000]})
    plan = plan_inputs(discover([write("a.parquet", parquet_bytes(table))]), unit_rows=10)
    with pytest.raises(InputError, match="cell of 5000 bytes") as caught:
        list(read(plan.units[0], schema=plan.schema, limits=Limits(cell_bytes=4000)))
    assert (caught.value.row, caught.value.column) == (7, "t")


def test_columns_without_rows_are_an_error(write: Write, parquet_bytes: Any) -> None:
    with pytest.raises(InputError, match="no rows") as refused:
        plan_inputs(discover([write("a.parquet", parquet_bytes(TABLE.slice(0, 0)))]), unit_rows=10)
    assert str(refused.value.file).endswith("a.parquet")


POOLS: list[pa.MemoryPool] = []
"""Kept for good: a pool outlives every buffer taken from it."""


def peak_bytes(plan: InputPlan, limits: Limits) -> int:
    """The most Arrow memory held at once while the first unit is read and its batches are let go."""
    POOLS.append(pa.proxy_memory_pool(pa.default_memory_pool()))
    before = pa.default_memory_pool()
    pa.set_memory_pool(POOLS[-1])
    try:
        num_rows = sum(rows.batch.num_rows for rows in read(plan.units[0], schema=plan.schema, limits=limits))
    finally:
        pa.set_memory_pool(before)
    assert num_rows == plan.units[0].rows
    return int(POOLS[-1].max_memory())


@pytest.mark.parametrize("use_dictionary", [False, True])
def test_memory_is_bounded_by_batches_and_pages_not_by_the_row_group(
    write: Write, parquet_bytes: Any, use_dictionary: bool
) -> None:
    """Rows of 100 kB. As documented: a few times batch_bytes, or 2.5 times a page where one holds all the rows."""
    limits = Limits(batch_bytes=1 << 20)
    wide = pa.table({"text": [f"{number:06}" + "words " * 16_666 for number in range(400)]})
    for rows in (100, 400):
        part, name = wide.slice(0, rows), f"{rows}{use_dictionary}"
        settings = {"use_dictionary": use_dictionary, "row_group_size": rows}
        paged = write(f"pages{name}.parquet", parquet_bytes(part, write_batch_size=4, **settings))
        assert peak_bytes(plan_inputs(discover([paged]), unit_rows=rows), limits) < 6 * limits.batch_bytes
        whole = write(f"whole{name}.parquet", parquet_bytes(part, **settings))
        assert peak_bytes(plan_inputs(discover([whole]), unit_rows=rows), limits) < 2.5 * part.nbytes

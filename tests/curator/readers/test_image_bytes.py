"""{bytes, path} is read as bytes where bytes are wanted, whole and nested nulls alike."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import InputError
from curator.readers import Limits, as_bytes, discover, plan_inputs, read

PICTURES = [
    {"bytes": b"one", "path": "1.png"},
    None,
    {"bytes": None, "path": "3.png"},
    {"bytes": b"four", "path": None},
]


@pytest.mark.parametrize("data", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_the_bytes_are_read(tmp_path: Path, data: pa.DataType, form: str) -> None:
    kind = pa.struct([("bytes", data), ("path", pa.string())])
    table = pa.table({"image": pa.array(PICTURES, kind), "label": [0, 1, 0, 1]})
    file = tmp_path / f"rows.{form}"
    if form == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)
    plan = plan_inputs(discover([str(file)]), unit_rows=64)
    schema = as_bytes(plan.schema, "image")
    assert schema.field("image").type == pa.binary()
    [rows] = read(plan.units[0], schema=schema)
    assert rows.batch.schema == schema
    assert rows.batch["image"].to_pylist() == [b"one", None, None, b"four"]
    [raw] = read(plan.units[0], schema=plan.schema)
    assert raw.batch["image"].to_pylist() == PICTURES
    with pytest.raises(InputError, match="a cell of 4 bytes"):
        list(read(plan.units[0], schema=schema, limits=Limits(cell_bytes=3)))


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.struct([("bytes", pa.string()), ("path", pa.string())]), pa.struct([("bytes", pa.binary())])],
)
def test_any_other_column_is_as_it_was(kind: pa.DataType) -> None:
    schema = pa.schema([("image", kind)])
    assert as_bytes(schema, "image") is schema

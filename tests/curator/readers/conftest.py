"""Small input files, and the whole way from a file to its rows."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.readers import LIMITS, Limits, discover, plan_inputs, read

Rows = list[dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Writes a file of a name and returns its path."""

    def made(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    return made


@pytest.fixture
def rows_of() -> Callable[..., Rows]:
    """Every row of one or several inputs, read unit by unit, with row numbers checked on the way."""

    def all_rows(*inputs: str, unit_rows: int = 1000, limits: Limits = LIMITS, **how: Any) -> Rows:
        plan = plan_inputs(discover(inputs), unit_rows=unit_rows, limits=limits)
        rows: Rows = []
        for unit in plan.units:
            expected = unit.first_row
            for first_row, batch in read(unit, schema=plan.schema, limits=limits, **how):
                assert first_row == expected
                expected += batch.num_rows
                rows += batch.to_pylist()
            assert expected == unit.first_row + unit.rows
        assert len(rows) == plan.rows
        return rows

    return all_rows


@pytest.fixture
def parquet_bytes() -> Callable[..., bytes]:
    def made(table: pa.Table, **how: Any) -> bytes:
        sink = io.BytesIO()
        pq.write_table(table, sink, **how)
        return sink.getvalue()

    return made


@pytest.fixture
def ipc_bytes() -> Callable[..., bytes]:
    def made(table: pa.Table, *, stream: bool = False, batch_rows: int = 3, compression: str | None = None) -> bytes:
        sink = io.BytesIO()
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=batch_rows)
        return sink.getvalue()

    return made


@pytest.fixture
def bad_text() -> pa.Array:
    """A string column of two values, the second of which is not UTF-8."""
    return pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"]).buffers())

"""Parquet and JSONL exports: files of bounded size, and a form for every value."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.exports import tables
from curator.storage import Store


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_large_exports_are_cut_into_files_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(tables, "FILE_BYTES", 200)
    batches = [
        pa.record_batch({"n": [start, start + 1], "sample_id": pa.array([bytes(16)] * 2, pa.binary(16))})
        for start in range(0, 10, 2)
    ]
    write = tables.export_parquet if form == "parquet" else tables.export_jsonl
    names = write(batches, "man_1", Store.open(tmp_path))
    assert names == [f"man_1-{number:05d}.{form}" for number in range(len(names))]
    assert len(names) == 2
    rows = []
    for name in names:
        path = tmp_path / name
        rows += (
            pq.read_table(path).to_pylist()
            if form == "parquet"
            else [json.loads(line) for line in path.read_text().splitlines()]
        )
    assert [row["n"] for row in rows] == list(range(10))


def test_jsonl_has_a_form_for_bytes_times_and_decimals(tmp_path: Path) -> None:
    import datetime
    import decimal

    batch = pa.record_batch(
        {
            "b": [b"\x00\xff"],
            "t": [datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)],
            "d": [decimal.Decimal("1.50")],
            "f": [float("nan")],
            "g": [[1.5, float("inf")]],
            "h": [{"x": float("-inf"), "y": "NaN"}],
            "sample_id": pa.array([bytes(16)], pa.binary(16)),
        }
    )
    [name] = tables.export_jsonl([batch], "m", Store.open(tmp_path))
    row = json.loads((tmp_path / name).read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (row["b"], row["t"], row["d"], row["sample_id"]) == ("AP8=", "2020-01-02T03:04:05+00:00", "1.50", "00" * 16)
    assert (row["f"], row["g"], row["h"]) == (None, [1.5, None], {"x": None, "y": "NaN"})

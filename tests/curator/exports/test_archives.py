"""WebDataset and MDS exports, read back by other code than wrote them."""

from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curator.exports import archives, export_mds, export_webdataset, tables, with_nulls
from curator.readers import discover, plan_inputs, read
from curator.storage import Store

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
ROWS: list[dict[str, Any]] = [
    {"label": 3, "image": b"\xff\xd8\xff\xe0jpeg", "text": "é", "score": 0.5, "tags": ["a"], "label_before": None},
    {"label": -1, "image": PNG, "text": "", "score": float("inf"), "tags": [], "label_before": 2},
    {"label": 0, "image": b"no picture", "text": "x" * 500, "score": -0.0, "tags": ["b", "c"], "label_before": None},
]
IDS = [bytes([number]) * 16 for number in range(3)]


def batches() -> list[pa.RecordBatch]:
    schema = pa.schema(
        {
            "label": pa.int16(), "image": pa.binary(), "text": pa.string(), "score": pa.float32(),
            "tags": pa.list_(pa.string()), "label_before": pa.int16(), "sample_id": pa.binary(16),
        }
    )  # fmt: skip
    rows = [{**row, "sample_id": sample_id} for row, sample_id in zip(ROWS, IDS, strict=True)]
    return [pa.RecordBatch.from_pylist([row], schema=schema) for row in rows]


def read_mds(folder: Path) -> list[dict[str, Any]]:
    """Rows by the layout as its words say it, one byte after the other."""
    numbers = {"int16": "<h", "int64": "<q", "float32": "<f", "float64": "<d"}
    rows = []
    index = json.loads((folder / "index.json").read_text())
    assert index["version"] == 2
    for shard in index["shards"]:
        assert (shard["format"], shard["compression"], shard["zip_data"]) == ("mds", None, None)
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        assert struct.unpack_from("<I", data)[0] == shard["samples"]
        for sample in range(shard["samples"]):
            at, end = struct.unpack_from("<II", data, 4 + 4 * sample)
            row: dict[str, Any] = {}
            sizes = []
            for size in shard["column_sizes"]:
                if size is None:
                    sizes.append(struct.unpack_from("<I", data, at)[0])
                    at += 4
                else:
                    sizes.append(size)
            for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
                cell, at = data[at : at + size], at + size
                if encoding in numbers:
                    [row[name]] = struct.unpack(numbers[encoding], cell)
                else:
                    row[name] = {"str": bytes.decode, "bytes": bytes, "json": json.loads}[encoding](cell)
            assert at == end
            rows.append(row)
        assert end == len(data)
    return rows


@pytest.mark.parametrize("file_bytes", [1, 1 << 20])
def test_mds_says_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_bytes: int) -> None:
    monkeypatch.setattr(archives, "MDS_FILE_BYTES", file_bytes)
    names = export_mds(batches(), with_nulls(batches()), Store.open(tmp_path))
    assert names == [*(f"shard.{number:05d}.mds" for number in range(3 if file_bytes == 1 else 1)), "index.json"]
    assert read_mds(tmp_path) == [{**row, "sample_id": key.hex()} for row, key in zip(ROWS, IDS, strict=True)]


def test_mds_columns_that_hold_nulls_are_json(tmp_path: Path) -> None:
    table = pa.table(
        {"t": ["x", None], "b": [None, b"\x00"], "n": [1, None], "sample_id": pa.array(IDS[:2], pa.binary(16))}
    )
    export_mds(table.to_batches(), with_nulls(table.to_batches()), Store.open(tmp_path))
    assert [(row["t"], row["b"], row["n"]) for row in read_mds(tmp_path)] == [("x", None, 1), (None, "AA==", None)]


def test_webdataset_rows_come_back_through_our_own_reader(tmp_path: Path) -> None:
    [name] = export_webdataset(batches(), "man_1", Store.open(tmp_path))
    plan = plan_inputs(discover([str(tmp_path / name)]), unit_rows=10)
    rows = [row for _, batch in read(plan.units[0], schema=plan.schema) for row in batch.to_pylist()]
    assert [row["__key__"] for row in rows] == [key.hex() for key in IDS]
    assert [(row["jpg"], row["png"], row["image"]) for row in rows] == [
        (ROWS[0]["image"], None, None), (None, PNG, None), (None, None, b"no picture"),
    ]  # fmt: skip
    for row, whole, key in zip(rows, ROWS, IDS, strict=True):
        expected = {name: value for name, value in whole.items() if name not in ("image", "label_before")}
        assert {name: row[name] for name in expected} == {**expected, "tags": json.dumps(expected["tags"])}
        assert row["__key__"] == key.hex() and not {"sample_id", "label_before"} & row.keys(), "ours, set aside"


def test_webdataset_names_images_by_column_where_there_are_several(tmp_path: Path) -> None:
    table = pa.table(
        {"a": [PNG], "b": [PNG], "c": pa.array([None], pa.binary()), "sample_id": pa.array(IDS[:1], pa.binary(16))}
    )
    [name] = export_webdataset(table.to_batches(), "m", Store.open(tmp_path))
    with tarfile.open(tmp_path / name) as archive:
        assert archive.getnames() == [f"{'00' * 16}.{end}" for end in ("a.png", "b.png", "json")]


def test_equal_rows_make_equal_tars_cut_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FILE_BYTES", 1)
    names = [export_webdataset(batches(), "m", Store.open(tmp_path / folder)) for folder in "ab"]
    assert names[0] == names[1] == ["m-00000.tar", "m-00001.tar", "m-00002.tar"]
    for name in names[0]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with tarfile.open(tmp_path / "a" / name) as archive:
            assert len(archive.getnames()) == 2

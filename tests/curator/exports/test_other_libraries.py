"""What other libraries read of our exports: every row, every value, in order, by their own code.

MDS is read byte by byte in test_archives.py, as its layout is told: its library brings half a dozen cloud clients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curator.exports import ExportForm, tables, write_export
from curator.shards import Manifest, ShardReader, ShardWriter, write_index
from curator.storage import Store

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

ROWS = 300
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Manifest]:
    """Text with nulls and signs, an image, numbers, lists; every fifth row does not live."""
    import numpy as np

    store = Store.open(tmp_path_factory.mktemp("root"))
    ids = np.random.default_rng(1).integers(0, 256, (ROWS, 16), np.uint8)
    table = pa.table(
        {
            "text": pa.array([None if n % 7 == 0 else f'Zeile {n}: „é“\n\t"{n}"' for n in range(ROWS)]),
            "picture": pa.array([PNG + bytes([n % 256]) * (n % 50) for n in range(ROWS)], pa.binary()),
            "score": pa.array([n / 8 for n in range(ROWS)], pa.float64()),
            "label": pa.array([n % 3 for n in range(ROWS)], pa.int64()),
            "tags": pa.array([[f"t{n % 4}"] * (n % 3) for n in range(ROWS)], pa.list_(pa.string())),
            "sample_id": pa.array([bytes(row) for row in ids], pa.binary(16)),
        }
    )
    writer = ShardWriter(store, table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    [shard] = writer.close()
    live = np.arange(ROWS) % 5 != 0
    info = shard.with_index(*write_index(store, np.where(live, 0, 3).astype(np.uint8), live, ids))
    manifest = Manifest.of(table.schema, [info], recipe_digest="d", dataset_version="v")
    manifest.save(store)
    return store, manifest


@pytest.fixture(scope="module")
def expected(made: tuple[Store, Manifest]) -> list[dict[str, Any]]:
    batches = ShardReader(made[0]).iter_batches(made[1])
    return [row for batch in batches for row in batch.to_pylist()]


def exported(
    made: tuple[Store, Manifest], folder: Path, form: ExportForm, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Paths of an export cut into several files."""
    monkeypatch.setattr(tables, "FILE_BYTES", 4000)
    names = write_export(ShardReader(made[0]), made[1], form, Store.open(folder))
    return [str(folder / name) for name in names]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as exports spell it: sample ids in hex."""
    return {**row, "sample_id": row["sample_id"].hex()}


def test_polars_reads_parquet_and_jsonl(
    made: Any, expected: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars

    parquet = polars.read_parquet(exported(made, tmp_path / "p", "parquet", monkeypatch)).to_dicts()
    assert [{**row, "sample_id": _hex(row["sample_id"])} for row in parquet] == [plain(row) for row in expected]
    lines = exported(made, tmp_path / "j", "jsonl", monkeypatch)
    read = polars.concat([polars.read_ndjson(path, infer_schema_length=None) for path in lines])
    for name in ("text", "score", "label", "tags", "sample_id"):
        assert read[name].to_list() == [plain(row)[name] for row in expected], name


def test_hugging_faces_datasets_reads_parquet_and_jsonl(
    made: Any, expected: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import datasets

    datasets.disable_progress_bars()
    read = {
        form: datasets.load_dataset(
            "json" if form == "jsonl" else form,
            data_files=exported(made, tmp_path / form, form, monkeypatch),  # type: ignore[arg-type]
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        for form in ("parquet", "jsonl")
    }
    assert [{**row, "sample_id": _hex(row["sample_id"])} for row in read["parquet"]] == [plain(row) for row in expected]
    for name in ("text", "score", "label", "tags", "sample_id"):
        assert list(read["jsonl"][name]) == [plain(row)[name] for row in expected], name


def test_webdataset_reads_tars(
    made: Any, expected: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import webdataset

    paths = exported(made, tmp_path, "webdataset", monkeypatch)
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [row["sample_id"].hex() for row in expected]
    for sample, row in zip(samples, expected, strict=True):
        assert sample["png"] == row["picture"]
        told = sample["json"]
        assert {name: told[name] for name in ("text", "score", "label", "tags")} == {
            name: row[name] for name in ("text", "score", "label", "tags")
        }


def _hex(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).hex()

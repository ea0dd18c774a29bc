"""Every kept row of a manifest is written once, whatever the format, and the writing can be stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator.errors import RequestError, StoppedError
from curator.exports import FORMATS, ExportForm, write_export
from curator.readers import discover, plan_inputs, read
from curator.shards import Manifest, ShardReader, ShardWriter, write_index
from curator.storage import Store
from tests.curator.exports.test_archives import read_mds

ROWS = 9000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Manifest]:
    """A manifest of three record batches in which every tenth row does not live."""
    store = Store.open(tmp_path_factory.mktemp("root"))
    ids = np.random.default_rng(1).integers(0, 256, (ROWS, 16), np.uint8)
    named = pa.array([bytes(row) for row in ids], pa.binary(16))
    schema = pa.schema([("n", pa.int64()), ("text", pa.string()), ("sample_id", pa.binary(16))])
    batch = pa.record_batch([pa.array(range(ROWS)), pa.array([f"row {n}" for n in range(ROWS)]), named], schema=schema)
    writer = ShardWriter(store, schema)
    writer.write(batch)
    [shard] = writer.close()
    live = np.arange(ROWS) % 10 != 0
    info = shard.with_index(*write_index(store, np.where(live, 0, 3).astype(np.uint8), live, ids))
    manifest = Manifest.of(schema=schema, shards=[info], recipe_digest="d", policy_version="p", dataset_version="v")
    manifest.save(store)
    return store, manifest


def numbers(folder: Path, names: list[str], form: ExportForm) -> list[int]:
    if form == "mds":
        return [row["n"] for row in read_mds(folder)]
    if form == "jsonl":
        return [json.loads(line)["n"] for name in names for line in (folder / name).read_text().splitlines()]
    plan = plan_inputs(discover([str(folder / name) for name in names]), unit_rows=1 << 20)
    return [n for unit in plan.units for rows in read(unit, schema=plan.schema) for n in rows.batch["n"].to_pylist()]


@pytest.mark.parametrize("form", FORMATS)
def test_every_kept_row_once_in_order(made: tuple[Store, Manifest], tmp_path: Path, form: ExportForm) -> None:
    told: list[int] = []
    names = write_export(ShardReader(made[0]), made[1], form, Store.open(tmp_path), on_rows=told.append)
    assert numbers(tmp_path, names, form) == [n for n in range(ROWS) if n % 10]
    counted = [rows for rows in told if rows]
    assert counted == sorted(set(counted)) and counted[-1] == ROWS * 9 // 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("form", FORMATS)
def test_a_stop_leaves_no_half_file(made: tuple[Store, Manifest], tmp_path: Path, form: ExportForm) -> None:
    def stop(rows: int) -> None:
        raise StoppedError("shutdown")

    with pytest.raises(StoppedError):
        write_export(ShardReader(made[0]), made[1], form, Store.open(tmp_path), on_rows=stop)
    assert list(tmp_path.iterdir()) == []


def test_nothing_kept_is_nothing_to_export(made: tuple[Store, Manifest], tmp_path: Path) -> None:
    empty = made[1].model_copy(update={"shards": ()})
    with pytest.raises(RequestError, match="no kept rows"):
        write_export(ShardReader(made[0]), empty, "parquet", Store.open(tmp_path))

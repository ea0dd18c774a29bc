"""Files that other programs and older versions hold: their bytes and ids must not drift unnoticed.

To change one on purpose, raise its version, and run `python -m tests.curator.shards.test_golden`.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator.epochs.plan import EpochPlan
from curator.errors import RequestError
from curator.shards import Manifest, Overlay, ShardIndex, ShardInfo
from curator.shards.manifest import Column

GOLDEN = Path(__file__).parents[2] / "golden"


def golden_index() -> ShardIndex:
    ids = np.arange(16 * 9, dtype=np.uint8).reshape(9, 16)[::-1]
    difficulty = np.array([0, 1, 2, 0, 1, 2, 0, 255, 1], dtype=np.uint8)
    live = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    overlay = Overlay(np.array([2, 5], dtype=np.uint32), pa.array(["cat", "dog"]))
    return ShardIndex.build(difficulty, live, ids, overlay)


def golden_manifest() -> Manifest:
    shard = ShardInfo(
        digest="a" * 64,
        rows=9,
        bytes=1200,
        batch_offsets=(184, 700, 900),
        batch_checksums=(1, 2),
        frame_checksum=3,
        index="b" * 64,
        live=(3, 2, 2),
        num_relabeled=2,
    )
    names = {"text": "string", "label": "string", "label_before": "string", "sample_id": "fixed_size_binary[16]"}
    return Manifest(
        columns=tuple(Column(name=name, type=kind) for name, kind in names.items()),
        label="label",
        shards=(shard, shard.model_copy(update={"digest": "c" * 64, "quarantine": True, "live": (0, 0, 0)})),
        recipe_digest="d" * 64,
        policy_version="pol_1",
        dataset_version="e" * 64,
        parent="man_" + "0" * 32,
    )


def golden_positions() -> dict[str, object]:
    plans = {}
    for shuffle in ("full", "window", "none"):
        plan = EpochPlan(
            manifest="man_" + "0" * 32, live=(334, 333, 333), global_batch_size=10, shuffle=shuffle, seed=7
        )
        found = plan.positions(3, 25, 45)
        plans[shuffle] = {"id": plan.id, "difficulty": found.difficulty.tolist(), "rank": found.rank.tolist()}
    return plans


def test_manifest():
    text = (GOLDEN / "manifest.json").read_text()
    manifest = Manifest.parse(text, golden_manifest().id)
    assert manifest == golden_manifest()
    assert manifest.model_dump_json(indent=1) + "\n" == text
    assert manifest.id == "man_1de4bc03426ae4584d4e14d644383143"


def test_created_and_run_are_no_part_of_the_id():
    manifest = golden_manifest()
    told = manifest.model_copy(update={"run": "run_1", "created": datetime(2026, 11, 23, tzinfo=UTC)})
    assert told.id == manifest.id
    assert manifest.model_copy(update={"parent": None}).id != manifest.id


def test_an_unknown_version_is_refused():
    data = json.loads((GOLDEN / "manifest.json").read_text())
    with pytest.raises(RequestError, match="version 2, this program knows 1"):
        Manifest.parse(json.dumps({**data, "version": 2, "news": 1}), "man_x")
    with pytest.raises(RequestError, match="version 2, this program knows 1"):
        Manifest.parse(json.dumps({**data, "version": 2}), "man_x")


def test_index():
    data = (GOLDEN / "index.arrow").read_bytes()
    assert golden_index().to_bytes() == data
    index = ShardIndex.from_buffer(pa.py_buffer(data), "golden")
    assert [rows.tolist() for rows in index.by_difficulty] == [[6, 3, 0], [4, 1], [5, 2]]
    assert (index.deleted.tolist(), index.deleted_difficulty.tolist()) == ([8], [1])
    assert (index.overlay.rows.tolist(), index.overlay.labels.to_pylist()) == ([2, 5], ["cat", "dog"])


def test_positions():
    assert golden_positions() == json.loads((GOLDEN / "epoch_plan.json").read_text())


if __name__ == "__main__":
    (GOLDEN / "manifest.json").write_text(golden_manifest().model_dump_json(indent=1) + "\n")
    (GOLDEN / "index.arrow").write_bytes(golden_index().to_bytes())
    (GOLDEN / "epoch_plan.json").write_text(json.dumps(golden_positions()) + "\n")
    print(golden_manifest().id)

"""One story over REST: submit, curate, ask why, pull by 1, 2 and 4 ranks, overturn, pull again, report losses."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import ShardStream
from curator.client.rest import RunResult
from tests.journeys.conftest import Served
from tests.pipelines.conftest import TOPICS, sentence

pytestmark = pytest.mark.timeout(600)
BATCH = 32


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """900 labelled texts, a fifth wrong, some copies; 200 of them trusted."""
    folder, rng = tmp_path_factory.mktemp("rows"), random.Random(2)
    names = sorted(TOPICS)
    table = []
    for number in range(900):
        truth = names[number % 3]
        wrong = rng.random() < 0.2
        label = rng.choice([name for name in names if name != truth]) if wrong else truth
        table.append(
            {"id": number, "text": f"{sentence(rng, truth)} {sentence(rng, truth)}", "label": label, "truth": truth}
        )
    table += [{**table[number], "id": 5000 + number} for number in range(0, 900, 45)]
    trusted = [{"id": row["id"], "label": row["truth"]} for row in rng.sample(table[:900], 200)]
    pq.write_table(
        pa.Table.from_pylist([{key: row[key] for key in ("id", "text", "label")} for row in table]),
        folder / "data.parquet",
    )
    pq.write_table(pa.Table.from_pylist(trusted), folder / "trusted.parquet")
    return {"data": folder / "data.parquet", "trusted": folder / "trusted.parquet"}


@pytest.fixture(scope="module")
def curated(served: Served, rows: dict[str, Path]) -> RunResult:
    return served.client.curate(rows["data"], recipe="classification", trusted=rows["trusted"])


def epoch(served: Served, manifest: str, number: int, world: int, skip: int = 0) -> list[list[int]]:
    """Per global batch the ids in global order, put together from the ranks' slices."""
    slices = []
    for rank in range(world):
        stream = ShardStream(
            served.client,
            manifest=manifest,
            num_epochs=10,
            seed=4,
            global_batch_size=BATCH,
            rank=rank,
            world_size=world,
            columns=["id"],
        )
        stream.set_epoch(number)
        if skip:
            stream.load_state_dict({**stream.state_dict(), "samples": skip * BATCH})
        slices.append([batch.column("id").to_pylist() for batch in stream.iter_batches()])
    return [[number for part in parts for number in part] for parts in zip(*slices, strict=True)]


def test_every_row_has_a_verdict(served: Served, curated: RunResult) -> None:
    summary = curated.summary
    counts = Counter(row["action"] for row in served.client.decisions(curated.run))
    assert summary.rows_in == 920 == sum(counts.values())
    assert counts["drop"] == summary.dropped and counts["relabel"] == summary.relabeled
    assert summary.reasons["exact_duplicate"] >= 20 and summary.reasons["label_error"] > 50


@pytest.mark.parametrize("number", [0, 5, 9])
def test_ranks_pull_the_same_rows_in_the_same_order(served: Served, curated: RunResult, number: int) -> None:
    one = epoch(served, curated.manifest, number, 1)
    assert one == epoch(served, curated.manifest, number, 2) == epoch(served, curated.manifest, number, 4)
    flat = [row for batch in one for row in batch]
    assert len(flat) == len(set(flat)) and len(one) >= 5
    assert epoch(served, curated.manifest, number, 2, skip=3) == one[3:]


@pytest.mark.parametrize(("number", "ratio"), [(0, (0.7, 0.2, 0.1)), (5, (0.2, 0.5, 0.3)), (9, (0.1, 0.3, 0.6))])
def test_every_global_batch_keeps_the_scheduled_mix(
    served: Served, curated: RunResult, number: int, ratio: tuple[float, ...]
) -> None:
    stream = ShardStream(
        served.client, manifest=curated.manifest, num_epochs=10, seed=4, global_batch_size=BATCH, columns=["id"]
    )
    stream.set_epoch(number)
    for batch in stream.iter_batches():
        mix = Counter(batch.column("difficulty").to_pylist())
        for name, share in zip(("easy", "medium", "hard"), ratio, strict=True):
            assert abs(mix[name] - share * BATCH) <= 1, (number, mix)


def test_a_person_overturns_verdicts_and_the_next_epoch_serves_them(served: Served, curated: RunResult) -> None:
    dropped = next(row for row in served.client.decisions(curated.run, reason="label_error"))
    kept = next(row for row in served.client.decisions(curated.run, action="keep"))
    label = next(name for name in sorted(TOPICS) if name != kept["given_label"])
    changed = served.client.override(
        curated.run,
        [
            {"sample_id": dropped["sample_id"], "action": "keep"},
            {"sample_id": kept["sample_id"], "action": "relabel", "label": label},
        ],
        note="looked at both",
    )
    before, after = served.client.manifest(curated.manifest), served.client.manifest(changed["manifest"])
    assert changed["manifest"] != curated.manifest and after["parent"] == curated.manifest
    assert [shard["digest"] for shard in after["shards"]] == [shard["digest"] for shard in before["shards"]]
    rows = {row["id"]: row for batch in served_rows(served, changed["manifest"]) for row in batch.to_pylist()}
    assert rows[dropped["id"]]["label"] == dropped["given_label"]
    assert (rows[kept["id"]]["label"], rows[kept["id"]]["label_before"]) == (label, kept["given_label"])
    pulled = {row for number in range(10) for batch in epoch(served, changed["manifest"], number, 1) for row in batch}
    assert {dropped["id"], kept["id"]} <= pulled


def served_rows(served: Served, manifest: str) -> list[pa.RecordBatch]:
    from curator import Manifest, ShardReader

    source = served.client.shard_source()
    found: Manifest = source.manifest(manifest)
    return list(ShardReader(source).iter_batches(found))


def test_a_training_job_outside_reports_its_losses_once_and_they_teach(
    served: Served, curated: RunResult, rows: dict[str, Path]
) -> None:
    job = served.client.jobs.create(manifest=curated.manifest, mode="external")
    ids = [bytes.fromhex(row["sample_id"]) for row in served.client.decisions(curated.run, action="keep", limit=60)]
    losses = pa.table(
        {
            "sample_id": pa.array(ids, pa.binary(16)),
            "epoch": pa.array(np.zeros(60, np.int64)),
            "step": pa.array(np.arange(60)),
            "loss": pa.array(np.linspace(0, 3, 60), pa.float32()),
        }
    )
    assert served.client.feedback(job, losses.slice(0, 40)) == 40
    assert served.client.feedback(job, losses.slice(0, 40)) == 40, "the same batch again is answered as before"
    assert served.client.feedback(job, losses.slice(20, 40)) == 20, "a row counts once, in whatever batch it comes"
    taught = served.client.curate(rows["data"], recipe="classification", trusted=rows["trusted"], feedback=[job["id"]])
    assert taught.summary.policy != curated.summary.policy, "the policy has one more thing to look at"

"""ZeRO-3: equal to data parallelism, resumed and resharded exactly, in int8 too; the layout for up to 1,024 ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curator.errors import RunFailedError
from curator.storage import Store
from pipelines.training.checkpoint import CHECKPOINT, MODEL, load_model
from tests.pipelines.training.examples import SMALL, fast, texts, write_curated
from tests.pipelines.training.parallel.jobs import job, layout, logged
from tests.pipelines.training.parallel.processes import launched, run

LOOSE = {"learning_rate": 1e-2, "clip_norm": 1e9}
"""Without clipping there is no norm, whose sum is ordered by slices."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(root, manifest) of 150 rows."""
    root = tmp_path_factory.mktemp("root")
    return str(root), write_curated(Store.open(root), texts(150)).id


def recipe(parallel: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = fast(SMALL["text-classifier"], parallel=parallel, epochs=2, depth=2, device="cpu", **changes)
    return made.model_dump(mode="json")


def test_slices_learn_what_replicas_learn(shards: tuple[str, str], tmp_path: Path) -> None:
    whole = run(job, 4, *shards, recipe({"kind": "ddp"}, optimiser=LOOSE), str(tmp_path / "ddp"))
    cut = run(job, 4, *shards, recipe({"kind": "fsdp"}, optimiser=LOOSE), str(tmp_path / "fsdp"))
    assert cut[0].losses == pytest.approx(whole[0].losses, rel=1e-7, abs=0)
    ours, theirs = (load_model(str(tmp_path / name)).model.state_dict() for name in ("fsdp", "ddp"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-7)  # AdamW's vector and scalar paths differ in a last bit
    assert cut[1].report.num_parameters == whole[1].report.num_parameters


@pytest.mark.parametrize("compress", ["none", "int8"])
def test_killed_resumed_and_resharded(shards: tuple[str, str], tmp_path: Path, compress: str) -> None:
    sliced = recipe({"kind": "fsdp", "compress": compress})
    whole = run(job, 2, *shards, sliced, str(tmp_path / "whole"))
    survivor, _ = launched(job, 2, *shards, sliced, str(tmp_path / "out"), None, (0, 7)).results(failing=True)[::-1]
    assert isinstance(survivor, RunFailedError)
    [parts] = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert parts.name == "parts-4" and len(list(parts.glob("*.safetensors"))) == 2
    assert (
        compress == "int8"
        or (tmp_path / "out" / CHECKPOINT).stat().st_size < (tmp_path / "whole" / MODEL).stat().st_size
    )
    same = run(job, 2, *shards, sliced, str(tmp_path / "out"), 5)
    assert same[0].report.resumed_from == 4 and same[0].report.steps == 9
    assert set(logged(str(tmp_path / "out"))) <= set(whole[0].losses.items()), "with the same bits"
    more = run(job, 4, *shards, sliced, str(tmp_path / "out"))
    assert more[0].report.resumed_from == 9 and more[0].report.finished
    assert more[0].losses == pytest.approx({step: whole[0].losses[step] for step in more[0].losses}, rel=0.01)
    served = [(row["epoch"], row["sample_id"]) for one in (*same, *more) for row in one.rows]
    whole_rows = [(row["epoch"], row["sample_id"]) for one in whole for row in one.rows if row["step"] > 4]
    assert sorted(served) == sorted(whole_rows), "every row from step 5 on, once"


def test_int8_is_a_quarter_of_the_bytes_and_teaches_the_same(shards: tuple[str, str], tmp_path: Path) -> None:
    wide = {"width": 64, "ngram_buckets": 2048}
    plain = run(job, 2, *shards, recipe({"kind": "fsdp"}, **wide), str(tmp_path / "plain"))
    seen = run(job, 2, *shards, recipe({"kind": "fsdp", "compress": "int8"}, **wide), str(tmp_path / "int8"))
    assert seen[0].losses == pytest.approx(plain[0].losses, rel=0.02) and seen[0].losses != plain[0].losses
    assert seen[1].report.bytes_sent <= 0.26 * plain[1].report.bytes_sent


def test_one_rank_of_slices_is_one_process(shards: tuple[str, str], tmp_path: Path) -> None:
    [cut] = run(job, 1, *shards, recipe({"kind": "fsdp"}), str(tmp_path / "fsdp"))
    alone = job(*shards, recipe({"kind": "none"}), str(tmp_path / "none"))
    assert cut.losses == alone.losses


def test_slices_go_on_whole_and_cut_again(shards: tuple[str, str], tmp_path: Path) -> None:
    """Two ranks, then one, which holds everything whole, then two: each from the checkpoint of the one before."""
    sliced, folder = recipe({"kind": "fsdp"}), str(tmp_path / "out")
    whole = run(job, 1, *shards, sliced, str(tmp_path / "whole"))[0]
    first = run(job, 2, *shards, sliced, folder, 5)[0]
    second = run(job, 1, *shards, sliced, folder, 3)[0]
    third = run(job, 2, *shards, sliced, folder)[0]
    assert (first.report.steps, second.report.resumed_from, third.report.resumed_from) == (5, 5, 8)
    assert third.report.finished
    told = {**first.losses, **second.losses, **third.losses}
    assert told == pytest.approx(whole.losses, rel=1e-5)


@pytest.mark.parametrize("world_size", [8, 1024])
def test_the_layout_for_many_ranks(world_size: int) -> None:
    """On a backend that moves nothing: what rank 0 holds, and which collectives a step asks for."""
    found = run(layout, 1, world_size)[0]
    assert found.held <= 1.001 * found.parameters / world_size
    assert found.gathers == 2 * found.units + 1 and found.reductions == found.units + 1

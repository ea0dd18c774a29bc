"""Packed documents on several ranks: the losses, the rows told of and the checkpoint of one process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from curator.errors import RecipeError
from curator.storage import Store
from pipelines.training.checkpoint import MODEL
from tests.pipelines.training.examples import SMALL, fast, texts, write_curated
from tests.pipelines.training.parallel.jobs import job
from tests.pipelines.training.parallel.processes import launched, run


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(root, manifest) of 90 rows."""
    root = tmp_path_factory.mktemp("root")
    return str(root), write_curated(Store.open(root), texts(90)).id


def recipe(parallel: str, **changes: Any) -> dict[str, Any]:
    """Four sequences of 16 tokens a step: most texts are learned in pieces, on whichever rank."""
    layout = {"kind": "packed", "tokens_per_step": 64, "open_sequences": 8}
    sizes = {"context": 16, "global_batch_size": 6, "epochs": 1, "optimiser": {"learning_rate": 1e-2}, **changes}
    made = fast(SMALL["language-model"], parallel={"kind": parallel}, layout=layout, device="cpu", **sizes)
    return made.model_dump(mode="json")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_ranks_learn_what_one_process_learns(shards: tuple[str, str], tmp_path: Path, kind: str) -> None:
    alone = job(*shards, recipe("none"), str(tmp_path / "none"))
    seen = run(job, 2, *shards, recipe(kind), str(tmp_path / kind))
    report = seen[0].report
    assert report.steps == alone.report.steps and seen[0].losses == pytest.approx(alone.losses, rel=1e-5)
    counts = ("num_samples", "num_tokens", "num_truncated", "num_without_target", "losses")
    ours, theirs = (one.model_dump(include=set(counts)) for one in (report, alone.report))
    assert ours.pop("losses") == pytest.approx(theirs.pop("losses"), rel=1e-5) and ours == theirs
    assert not seen[1].rows, "told of once, by the rank that leads"
    told, expected = ({(row["sample_id"], row["step"]): row["loss"] for row in one.rows} for one in (seen[0], alone))
    assert told == pytest.approx(expected, rel=1e-4)


def test_killed_and_gone_on_with_more_ranks(shards: tuple[str, str], tmp_path: Path) -> None:
    """The same bits with as many ranks; with twice as many the same losses. What was packed is in the checkpoint."""
    packed = recipe("ddp")
    whole = run(job, 2, *shards, packed, str(tmp_path / "whole"))[0]
    halted = launched(job, 2, *shards, packed, str(tmp_path / "out"), None, (-1, 6))
    assert halted.results(failing=True) == [None, None]
    shutil.copytree(tmp_path / "out", tmp_path / "same")
    more = run(job, 4, *shards, packed, str(tmp_path / "out"), 3)[0]
    assert more.report.resumed_from == 4 and not more.report.finished
    assert more.losses == pytest.approx({step: whole.losses[step] for step in more.losses}, rel=1e-5)
    run(job, 2, *shards, packed, str(tmp_path / "same"))
    assert (tmp_path / "same" / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()


def test_sequences_that_ranks_do_not_divide(shards: tuple[str, str], tmp_path: Path) -> None:
    [first, _, _] = launched(job, 3, *shards, recipe("ddp"), str(tmp_path / "out")).results(failing=True)
    assert isinstance(first, RecipeError) and "3 ranks do not divide the 4 sequences" in str(first)

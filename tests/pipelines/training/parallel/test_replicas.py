"""Jobs over ranks that average gradients: the same rows, the same learning, exact resume, every compression."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from curator.errors import RunFailedError
from curator.storage import Store
from pipelines.training.checkpoint import MODEL
from tests.pipelines.training.examples import SMALL, fast, texts, write_curated
from tests.pipelines.training.parallel.jobs import Seen, job, logged
from tests.pipelines.training.parallel.processes import launched, run

WIDE: dict[str, Any] = {"width": 64, "optimiser": {"learning_rate": 1e-2}}
"""Enough parameters that padding to whole blocks does not count."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(root, manifest) of 150 rows."""
    root = tmp_path_factory.mktemp("root")
    return str(root), write_curated(Store.open(root), texts(150)).id


def ddp(compress: str = "none", kind: str = "text-classifier", **changes: Any) -> dict[str, Any]:
    parallel = {"kind": "ddp", "compress": compress}
    return fast(SMALL[kind], parallel=parallel, epochs=2, device="cpu", **changes).model_dump(mode="json")


def together(seen: list[Seen]) -> list[tuple[int, bytes, float]]:
    """(step, sample, loss) of all ranks' feedback, in the order of steps and ranks."""
    rows = [(row["step"], rank, place, row) for rank, one in enumerate(seen) for place, row in enumerate(one.rows)]
    return [(row["step"], row["sample_id"], row["loss"]) for _, _, _, row in sorted(rows, key=lambda row: row[:3])]


@pytest.mark.parametrize(("kind", "world_size"), [("text-classifier", 4), ("language-model", 2)])
def test_ranks_learn_what_one_process_learns(
    shards: tuple[str, str], tmp_path: Path, kind: str, world_size: int
) -> None:
    """Rows differ in length, so a mean of the ranks' means would be another loss."""
    alone = job(*shards, ddp(kind=kind), str(tmp_path / "alone"))
    seen = run(job, world_size, *shards, ddp(kind=kind), str(tmp_path / "ranks"))
    assert seen[0].losses == pytest.approx(alone.losses, rel=2e-5)
    assert all(not one.losses for one in seen[1:]), "one rank speaks for all"
    ours, theirs = together(seen), together([alone])
    assert [row[:2] for row in ours] == [row[:2] for row in theirs], "the same rows in the same steps, each once"
    assert [row[2] for row in ours] == pytest.approx([row[2] for row in theirs], rel=1e-3)
    for name in ("num_samples", "num_tokens", "num_truncated", "steps"):
        assert {getattr(one.report, name) for one in seen} == {getattr(alone.report, name)}
    assert seen[0].report.losses == pytest.approx(alone.report.losses, rel=2e-5)


@pytest.fixture(scope="module")
def plain(shards: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """A job whose gradients travel as they are."""
    return run(job, 2, *shards, ddp(**WIDE), str(tmp_path_factory.mktemp("plain") / "out"))


@pytest.mark.parametrize(("compress", "share"), [("bf16", 0.5), ("int8", 0.26), ("powersgd", None)])
def test_compressed_gradients_teach_the_same(
    shards: tuple[str, str], plain: list[Seen], tmp_path: Path, compress: str, share: float | None
) -> None:
    seen = run(job, 2, *shards, ddp(compress, **WIDE), str(tmp_path / compress))
    assert seen[0].losses[1] == pytest.approx(plain[0].losses[1], rel=1e-5)
    assert seen[0].losses == pytest.approx(plain[0].losses, rel=0.15 if compress == "powersgd" else 0.05)
    assert seen[0].losses != plain[0].losses
    sent, whole = seen[1].report.bytes_sent, plain[1].report.bytes_sent
    parameters, steps = plain[0].report.num_parameters, plain[0].report.steps
    assert whole == pytest.approx(4 * parameters * steps, rel=0.01), "2·(W-1)/W of four bytes a number"
    assert sent < whole if share is None else sent <= share * whole * 1.001


@pytest.mark.parametrize("compress", ["none", "int8", "powersgd"])
def test_a_killed_rank_ends_the_job_and_a_resumed_one_has_the_same_bits(
    shards: tuple[str, str], tmp_path: Path, compress: str
) -> None:
    whole = run(job, 2, *shards, ddp(compress), str(tmp_path / "whole"))
    killed = launched(job, 2, *shards, ddp(compress), str(tmp_path / "killed"), None, (1, 7))
    survivor, dead = killed.results(failing=True)
    assert isinstance(survivor, RunFailedError) and "lost another" in str(survivor) and dead is None
    assert killed.processes[1].exitcode == -signal.SIGKILL
    resumed = run(job, 2, *shards, ddp(compress), str(tmp_path / "killed"))
    assert resumed[0].report.resumed_from == 4
    log = logged(str(tmp_path / "killed"))
    assert len(log) > len(whole[0].losses), "some steps were done twice"
    assert set(log) == set(whole[0].losses.items()), "with the same bits"
    assert (tmp_path / "killed" / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()


def test_a_job_goes_on_with_another_number_of_ranks(shards: tuple[str, str], tmp_path: Path) -> None:
    whole = run(job, 2, *shards, ddp("int8"), str(tmp_path / "whole"))
    begun = run(job, 2, *shards, ddp("int8"), str(tmp_path / "parts"), 6)
    assert not begun[0].report.finished and begun[1].report.steps == 6
    ended = run(job, 4, *shards, ddp("int8"), str(tmp_path / "parts"))
    assert ended[0].report.resumed_from == 6 and ended[0].report.finished
    rows = together(begun) + together(ended)
    assert [row[:2] for row in rows] == [row[:2] for row in together(whole)], "no row twice, none left out"
    losses = begun[0].losses | ended[0].losses
    assert losses == pytest.approx(whole[0].losses, rel=0.01)
    assert ended[0].report.num_samples == whole[0].report.num_samples

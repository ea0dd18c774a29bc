"""Ranks that learn by themselves and exchange fragments: the algorithm by hand, kills, returns, exact resume."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import torch.distributed as dist

from curator.errors import IntegrityError
from curator.storage import Store
from pipelines.training.checkpoint import MODEL
from pipelines.training.kinds import Optimiser
from pipelines.training.parallel.board import Board
from pipelines.training.parallel.kinds import LocalSteps
from pipelines.training.parallel.workers import Workers
from tests.pipelines.training.examples import SMALL, fast, texts, write_curated
from tests.pipelines.training.parallel.jobs import Seen, by_hand, job, logged, start_by_hand
from tests.pipelines.training.parallel.processes import Launched, free_port, launched, run


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(root, manifest) of 150 rows."""
    root = tmp_path_factory.mktemp("root")
    return str(root), write_curated(Store.open(root), texts(150)).id


@pytest.fixture
def board() -> Iterator[dict[str, str]]:
    """A board that none of the ranks hosts: the environment that finds it."""
    port = free_port()
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=1))
    yield {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    del store


def diloco(epochs: int = 4, rarely: bool = False, **changes: Any) -> dict[str, Any]:
    parallel = {"kind": "diloco", "local_steps": 6, "fragments": 3, "delay": 2, "patience_s": 30.0, **changes}
    made = fast(
        SMALL["text-classifier"],
        parallel=parallel,
        epochs=epochs,
        device="cpu",
        checkpoint_every=1000 if rarely else 7,
        optimiser=Optimiser(learning_rate=1e-2),
    )
    return made.model_dump(mode="json")


def test_a_round_is_the_paper_s_by_hand() -> None:
    """Two ranks, one fragment, no delay: their mean movement, a Nesterov step, and half of the way to it."""
    found = run(by_hand, 2)
    for seen in found:
        assert seen["first"] == pytest.approx([1.5, 3.0, 4.5, 6.0], rel=0.01), "the mean of both movements, in 8 bits"
        assert seen["found"] == pytest.approx(seen["expected"], rel=1e-5)
    assert found[0]["shared"] == found[1]["shared"], "the same bits on every rank"


def test_a_start_together_by_hand() -> None:
    """Every gradient is the mean of both ranks'; at the end both hold the same bits, also where one had gone astray."""
    found = run(start_by_hand, 2)
    for rank, seen in enumerate(found):
        assert seen["gradients"] == pytest.approx([1.5, 1.5, 3.0, 3.0], rel=1e-3)
        assert seen["after"] == [[7.0 + rank] * 4], "after the start each learns by itself"
        assert seen["weights"][0] == pytest.approx([1.0005] * 4, rel=1e-6)
        assert seen["waited"] == 0.0, "of exchanges that learning need not wait for"
    assert found[0]["left"] == [], "what all have taken in is cleared away by the rank that leads"
    assert found[0]["shared"] == found[1]["shared"] == [found[0]["weights"][0], found[0]["weights"][1]]


def test_a_checkpoint_of_ranks_that_did_not_start_together_is_refused() -> None:
    store = dist.HashStore()
    workers = Workers(LocalSteps(), Board(lambda: store, 0, 1, 1.0), together=0)
    with pytest.raises(IntegrityError, match="resume with the version that wrote it"):
        workers.load({"shared/0": torch.zeros(3)})
    workers.close()


def test_a_rank_that_returns_holds_up_no_checkpoint_of_the_step_it_joins_at() -> None:
    """It is alive from then on, and saves only later steps."""
    store, kind = dist.HashStore(), LocalSteps(local_steps=4, fragments=1, delay=0)
    leading, _, back = (Board(lambda: store, rank, 2, 5.0) for rank in (0, 1, 1))
    both = [Workers(kind, board, together=0) for board in (leading, back)]
    for workers in both:
        module = torch.nn.Linear(4, 1)
        workers.lay(module, module)
    with ThreadPoolExecutor(2) as threads:
        joined = threads.submit(both[1].begin)
        until = time.monotonic() + 5
        while leading.get("join") is None and time.monotonic() < until:
            time.sleep(0.005)
        leading.answer("join", lambda: both[0]._snapshot(4))
        assert joined.result(10) == 4
        leading.put("saved/4/0", b"1")
        assert threads.submit(leading.await_all, "saved/4").result(2) == [0, 1]
    back.close(hosts=False)
    for workers in both:
        workers.close()


def test_a_start_that_never_ends_is_averaging(shards: tuple[str, str], tmp_path: Path) -> None:
    together = run(job, 2, *shards, diloco(start=1.0), str(tmp_path / "together"))
    exact = run(job, 2, *shards, {**diloco(), "parallel": {"kind": "ddp"}}, str(tmp_path / "exact"))
    ours, theirs = (_row_losses(seen) for seen in (together, exact))
    assert list(ours) == list(theirs) and list(ours.values()) == pytest.approx(list(theirs.values()), rel=0.03)
    assert together[0].report.finished and ours[max(ours)] < 0.5 * ours[min(ours)]


def _row_losses(ranks: list[Seen]) -> dict[int, float]:
    """The mean loss of the rows of each step, on whichever rank."""
    losses: dict[int, list[float]] = defaultdict(list)
    for row in (row for seen in ranks for row in seen.rows):
        losses[row["step"]].append(row["loss"])
    return {step: fmean(losses[step]) for step in sorted(losses)}


def test_ranks_end_with_one_model_that_has_learned(shards: tuple[str, str], tmp_path: Path) -> None:
    seen = run(job, 2, *shards, diloco(start=0.0), str(tmp_path / "out"))
    report = seen[0].report
    assert report.finished and report.losses[-1] < 0.7 * report.losses[0]
    assert not any(
        row["sample_id"] == other["sample_id"] and row["epoch"] == other["epoch"]
        for row in seen[0].rows
        for other in seen[1].rows
    ), "every row on one rank"
    assert len(seen[0].rows) + len(seen[1].rows) == 16 * report.steps
    gradients = 2 * 4 * report.num_parameters * report.steps * 0.5
    assert 0 < report.bytes_sent < gradients / 16


@pytest.mark.parametrize(("kill_at", "goes_on"), [(7, 7), (17, 14)])
def test_all_killed_and_resumed_gives_the_same_bits(
    shards: tuple[str, str], tmp_path: Path, kill_at: int, goes_on: int
) -> None:
    """Step 7 lies in the start together; exchanges under way are in the checkpoint of step 14, which is between sending
    (12) and merging (14, 16)."""
    whole = run(job, 2, *shards, diloco(), str(tmp_path / "whole"))
    halted = launched(job, 2, *shards, diloco(), str(tmp_path / "out"), None, (-1, kill_at))
    assert halted.results(failing=True) == [None, None]
    resumed = run(job, 2, *shards, diloco(), str(tmp_path / "out"))
    assert resumed[0].report.resumed_from == goes_on
    assert resumed[0].losses == {step: loss for step, loss in whole[0].losses.items() if step > goes_on}
    assert (tmp_path / "out" / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()


def test_a_lost_rank_is_survived_and_comes_back(shards: tuple[str, str], tmp_path: Path, board: dict[str, str]) -> None:
    """kill -9 of one of four, the one that leads, while all steps are taken together: the rest go on under another, and
    it joins them again once each learns by itself."""
    killed = 0
    folder = str(tmp_path / "out")
    slow = (*shards, diloco(epochs=12, rarely=True, patience_s=4.0), folder, None, None, 0.04)
    others: Launched = launched(job, 4, *slow, **board)
    _reached(folder, 10)
    others.kill(killed)
    _reached(folder, 24)
    again = launched(job, 4, *slow, only=killed, **board)
    [back] = again.results()
    found = others.results(failing=True)
    survivors = [seen for number, seen in enumerate(found) if number != killed]
    steps = back.report.total_steps
    assert all(seen.report.finished and seen.report.steps == steps for seen in [*survivors, back])
    assert back.report.resumed_from is not None and 24 <= back.report.resumed_from < steps
    assert back.report.last_loss < 0.5, "it goes on from what the others have learned"
    assert max(row["step"] for row in survivors[0].rows) == steps


def _reached(folder: str, step: int) -> None:
    """Waits until whoever leads has told of a step."""
    until = time.monotonic() + 40
    while not Path(f"{folder}.losses").exists() or max((told for told, _ in logged(folder)), default=0) < step:
        assert time.monotonic() < until, f"nobody reaches step {step}"
        time.sleep(0.05)


def test_a_stop_is_taken_by_all_at_one_step(shards: tuple[str, str], tmp_path: Path) -> None:
    seen = run(job, 2, *shards, diloco(), str(tmp_path / "out"), 3)
    steps = {one.report.steps for one in seen}
    assert len(steps) == 1 and not seen[0].report.finished and steps.pop() % 6 == 0
    ended = run(job, 2, *shards, diloco(), str(tmp_path / "out"))
    assert ended[0].report.finished and ended[0].report.resumed_from == seen[0].report.steps

"""What ranks of tests run: whole jobs over curated shards, and what they saw. Loaded once, before ranks are forked."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist
from torch.distributed.tensor.debug import CommDebugMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from pipelines.training.feed import TensorBatch
from pipelines.training.kinds import LanguageModel, TrainingRecipe
from pipelines.training.model import empty, num_parameters
from pipelines.training.parallel import replicas, shards
from pipelines.training.parallel.board import hosted
from pipelines.training.parallel.kinds import LocalSteps
from pipelines.training.parallel.launch import launch
from pipelines.training.parallel.ranks import Ranks
from pipelines.training.parallel.reduction import mean_all, mean_all_int8
from pipelines.training.parallel.spread import Traffic
from pipelines.training.parallel.ways import spread_for
from pipelines.training.parallel.workers import Workers
from pipelines.training.precision import place_recipe
from pipelines.training.presets import parse_recipe
from pipelines.training.report import StepRecord, TrainingReport
from pipelines.training.step import Learner
from pipelines.training.trainer import train

__all__ = ["Layout", "Seen", "by_hand", "job", "layout", "logged", "means", "start_by_hand"]


@dataclass
class Seen:
    """By one rank."""

    report: TrainingReport
    losses: dict[int, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def job(
    root: str,
    manifest: str,
    recipe: dict[str, Any],
    folder: str,
    stop_at: int | None = None,
    kill_at: tuple[int, int] | None = None,
    pause_s: float = 0.0,
) -> Seen:
    """Trains; stops after a step, or is killed: (rank, step), -1 every rank. Losses so far are also kept in a file
    beside `folder`."""
    losses: dict[int, float] = {}
    tables: list[pa.Table] = []
    rank = int(os.environ.get("RANK", "0"))

    def on_step(record: StepRecord) -> None:
        losses[record.step] = record.loss
        with Path(f"{folder}.losses").open("a") as log:
            log.write(f"{record.step} {record.loss.hex()}\n")

    steps = 0

    def should_stop() -> bool:
        nonlocal steps
        steps += 1
        time.sleep(pause_s)
        if kill_at in ((rank, steps), (-1, steps)):
            os.kill(os.getpid(), signal.SIGKILL)
        return stop_at == steps

    chosen: TrainingRecipe = parse_recipe(recipe)
    report = train(
        root,
        manifest,
        chosen,
        checkpoint_dir=folder,
        feedback=tables.append,
        on_step=on_step,
        should_stop=should_stop,
    )
    return Seen(report, losses, [row for table in tables for row in table.to_pylist()])


def logged(folder: str) -> list[tuple[int, float]]:
    """(step, loss) of every step any process of the job told of, in order."""
    lines = Path(f"{folder}.losses").read_text().split("\n")[:-1]
    return [(int(step), float.fromhex(loss)) for step, loss in (line.split() for line in lines)]


def by_hand() -> dict[str, list[float]]:
    """One exchange of a vector, and what algorithm 2 of the paper makes of it."""
    kind = LocalSteps(local_steps=1, fragments=1, delay=0, learning_rate=0.5, momentum=0.9, mixing=0.5)
    with hosted(launch(), 5.0) as board:
        module, workers = torch.nn.Linear(4, 1, bias=False), Workers(kind, board)
        torch.nn.init.ones_(module.weight)
        workers.lay(module, module)
        workers.begin()
        moved = torch.tensor([[1.0, 2.0, 3.0, 4.0]]) * (board.rank + 1)
        shared, momentum, first = torch.ones(1, 4), torch.zeros(1, 4), torch.zeros(4)
        for step in (1, 2):
            module.weight.data -= moved
            local = module.weight.data.clone()
            workers.stepped(step)
            gradient = workers._fragments[0].shared.grad
            assert gradient is not None
            first = gradient.clone() if step == 1 else first
            momentum = 0.9 * momentum + gradient
            shared = shared - 0.5 * (gradient + 0.9 * momentum)
        return {
            "expected": (0.5 * shared + 0.5 * local).flatten().tolist(),
            "found": module.weight.data.flatten().tolist(),
            "first": first.tolist(),
            "shared": workers._fragments[0].shared.tolist(),
        }


def start_by_hand() -> dict[str, Any]:
    """Two steps together on gradients of this rank's own, a weight that has gone astray, and the end of the start."""
    kind = LocalSteps(local_steps=4, fragments=2, delay=0)
    with hosted(launch(), 5.0) as board:
        module = torch.nn.Sequential(torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(1, 3, bias=False))
        for parameter in module.parameters():
            torch.nn.init.ones_(parameter)
        workers = Workers(kind, board, together=2)
        workers.lay(module, module)
        workers.begin()
        gradients: list[float] = []
        for step in (1, 2):
            for parameter in module.parameters():
                parameter.grad = torch.full_like(parameter, float(step * (board.rank + 1)))
            workers.average()
            gradients += [float(one.grad.mean()) for one in module.parameters() if one.grad is not None]
            if step == 2:
                module[0].weight.data += 1e-3 * board.rank
            workers.stepped(step)
        module[0].weight.grad = torch.full((1, 4), 7.0 + board.rank)
        workers.average()
        return {
            "gradients": gradients,
            "after": module[0].weight.grad.tolist(),
            "weights": [one.flatten().tolist() for one in module.parameters()],
            "shared": [one.shared.tolist() for one in workers._fragments],
            "waited": workers.traffic.waited_s,
            "left": [
                name
                for name in ("gradient/1/0", "gradient/2/0", "gradient/2/1", "settled/0/0", "settled/1/1")
                if board.get(f"{name}/{board.rank}") is not None
            ],
        }


def means(size: int, calls: int) -> dict[str, Any]:
    """A vector of this rank's and its means over the ranks: exact, in two cuts, in int8, in int8 over many calls."""
    place = launch()
    dist.init_process_group("gloo")
    group = dist.group.WORLD
    assert group is not None
    own = torch.randn(size, generator=torch.Generator().manual_seed(place.rank))
    exact, rounded = Traffic(), Traffic()
    whole = mean_all(own.clone(), group, exact)
    front, back = (mean_all(part.clone(), group, Traffic()) for part in (own[:1234], own[1234:]))
    first, errors = mean_all_int8(own, None, group, rounded)
    total = first.clone()
    for _ in range(calls - 1):
        again, errors = mean_all_int8(own, errors, group, Traffic())
        total += again
    dist.destroy_process_group()
    found = {
        "own": own.double(),
        "mean": whole,
        "front": front,
        "back": back,
        "int8": first,
        "mean int8": total / calls,
    }
    return {**found, "bytes": exact.bytes_sent, "bytes int8": rounded.bytes_sent}


@dataclass
class Layout:
    """Of a step in slices, seen by rank 0."""

    parameters: int
    held: int
    units: int
    """of two blocks each"""
    gathers: int
    reductions: int


def layout(world_size: int) -> Layout:
    """A step of a transformer in slices over that many ranks of a backend that moves nothing."""
    recipe = LanguageModel(width=1024, depth=4, heads=8, device="cpu", parallel="fsdp")  # type: ignore[arg-type]
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world_size)
    model, placement = empty(recipe, 0), place_recipe(recipe)
    parameters = num_parameters(model)
    spread = spread_for(recipe, Ranks(0, world_size, True), placement)
    learner = Learner(model, recipe.optimiser, placement, spread=spread)
    ids = torch.zeros(1, 8, dtype=torch.int64)
    batch = TensorBatch(pa.array([b"0" * 16], pa.binary(16)), ids, ids, context=8)
    with CommDebugMode() as seen:
        learner.step(batch, 1e-3)
    counts = {str(name): count for name, count in seen.get_comm_counts().items()}
    gathers = sum(count for name, count in counts.items() if "gather" in name)
    reductions = sum(count for name, count in counts.items() if "alltoall" in name or "all_to_all" in name)
    held = sum(parameter.to_local().numel() for parameter in model.parameters())  # type: ignore[attr-defined]
    return Layout(parameters, held, 2, gathers, reductions)


_PRELOADED = (replicas, shards)

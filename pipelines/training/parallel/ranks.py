"""The processes of a job: which one this is, how many there are, and what they tell each other beside tensors.

Knows launchers and process groups; nothing of models, rows or files. torchrun's environment is understood (RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), and so is a process group that somebody has made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.distributed as dist

from curator.errors import RecipeError, RequestError, RunFailedError
from pipelines.training.kinds import LanguageModel, TrainingRecipe
from pipelines.training.parallel.board import Board, hosted
from pipelines.training.parallel.kinds import Alone, LocalSteps, ShardedParallel
from pipelines.training.parallel.launch import launch, meeting_place
from pipelines.training.sequences import Packed, stages

__all__ = ["ALONE", "Ranks", "joined"]


@dataclass(frozen=True)
class Ranks:
    """This process among those of its job."""

    rank: int = 0
    world_size: int = 1
    in_step: bool = False
    """whether the ranks take every step together, in one process group"""
    board: Board | None = None
    """of ranks that do not"""
    local_steps: int = 1

    @property
    def leads(self) -> bool:
        """The rank that writes what is written once."""
        return self.rank == 0 if self.board is None else self.board.leads

    @property
    def together(self) -> int:
        """How many take a step together."""
        return self.world_size if self.in_step else 1

    def total(self, *numbers: float) -> list[float]:
        """The sums over the ranks, in float64; all of them wait for each other. Raises RunFailedError when one is gone.

        Ranks that are not in step have numbers of their own.
        """
        if not self.in_step or self.world_size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        try:
            dist.all_reduce(sums)
        except RuntimeError as error:
            raise RunFailedError(
                f"rank {self.rank} of {self.world_size} lost another: {error}. Start the job again: it goes on from "
                "its last checkpoint, with any number of ranks that divides the batch."
            ) from error
        return sums.tolist()

    def before_step(self, targets: int, asked: bool, step: int) -> tuple[float, bool]:
        """(targets of all that take the step together, whether a rank has asked to stop here and all do)."""
        if self.board is not None:
            return targets, self.board.stop_at(step, asked, self.local_steps)
        total, stops = self.total(targets, asked)
        return total, bool(stops)

    def same(self, word: str) -> str:
        """The word of the rank that leads, on every rank. Ranks that are not in step keep their own."""
        words = [word]
        if self.in_step and self.world_size > 1:
            dist.broadcast_object_list(words, src=0)
        return words[0]


ALONE: Final = Ranks()


@contextmanager
def joined(recipe: TrainingRecipe) -> Iterator[Ranks]:
    """This process's place among the ranks of the recipe, in a process group where they step together.

    Raises RequestError for a launcher of several and a recipe of one, and for a number of ranks that does not divide
    the global batch, or a packed step's sequences; both before anybody waits for anybody.
    """
    found, parallel = launch(), recipe.parallel
    if found.world_size > 1 and isinstance(parallel, Alone):
        raise RequestError(
            f"WORLD_SIZE is {found.world_size}: a launcher started several processes, and the recipe says `parallel: "
            "none`: each would train a whole model of its own. Start one, or say `parallel: ddp` (or fsdp, diloco)."
        )
    if isinstance(recipe, LanguageModel) and isinstance(recipe.layout, Packed):
        _check_sequences(recipe, recipe.layout, found.world_size)
    else:
        _check_batch(recipe, found.world_size)
    if torch.cuda.is_available() and recipe.device != "cpu":
        torch.cuda.set_device(found.local_rank % torch.cuda.device_count())
    grouped = found.world_size > 1 and not isinstance(parallel, LocalSteps)
    made = (grouped or isinstance(parallel, ShardedParallel)) and not dist.is_initialized()
    if made:
        _make_group(recipe, found.rank, found.world_size)
    try:
        if isinstance(parallel, LocalSteps) and found.world_size > 1:
            with hosted(found, parallel.patience_s) as board:
                yield Ranks(found.rank, found.world_size, board=board, local_steps=parallel.local_steps)
        else:
            yield Ranks(found.rank, found.world_size, grouped)
    finally:
        if made:
            dist.destroy_process_group()


def _check_batch(recipe: TrainingRecipe, world_size: int) -> None:
    size = recipe.global_batch_size
    if size % world_size:
        near = [number for number in range(1, size + 1) if size % number == 0 and number <= world_size][-1]
        raise RecipeError(
            f"{world_size} ranks do not divide global_batch_size {size}: they would get different numbers of rows. "
            f"Start {near} ranks, or make global_batch_size {-(-size // world_size) * world_size}."
        )


def _check_sequences(recipe: LanguageModel, layout: Packed, world_size: int) -> None:
    for _, context in stages(recipe.context, recipe.growth):
        if layout.tokens_per_step % (context * world_size):
            raise RecipeError(
                f"{world_size} ranks do not divide the {layout.tokens_per_step // context} sequences of {context} "
                f"tokens of a step: make layout.tokens_per_step a multiple of {context * world_size}, or start fewer"
            )


def _make_group(recipe: TrainingRecipe, rank: int, world_size: int) -> None:
    """gloo for what lies on the CPU, NCCL for what lies on a GPU."""
    cuda = torch.cuda.is_available() and recipe.device != "cpu"
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if world_size == 1:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        return
    meeting_place()
    dist.init_process_group(backend, rank=rank, world_size=world_size)

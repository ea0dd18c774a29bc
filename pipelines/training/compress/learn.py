"""Learning inside a compression: a module and its loss through the supply of training rows, with AdamW.

Knows modules, losses and rows; nothing of teachers, masks or gates. One CPU thread, or the recipe's device, in float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing

import torch
from torch import Tensor, nn

from pipelines.training.classes import ClassTable
from pipelines.training.course import Course
from pipelines.training.feed import TensorBatch
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.precision import Placement, cpu_threads, place
from pipelines.training.rows import RowStream
from pipelines.training.step import parameter_groups
from pipelines.training.supply import Place, Supply

__all__ = ["OpenRows", "first_batches", "learn"]

OpenRows = Callable[[TrainingRecipe], RowStream]
"""The training rows in the order of a recipe's plan."""


def learn(
    module: nn.Module,
    loss_of: Callable[[TensorBatch], Tensor],
    rows: RowStream,
    recipe: TrainingRecipe,
    classes: ClassTable,
) -> None:
    """Changes the module's parameters in place, over the recipe's epochs. A loss that is no number ends it early: the
    gate will see what became of the scores. Raises InputError for a row that cannot be learned from."""
    placement, course = _placement(recipe), _course(rows, recipe)
    supply, optimiser = Supply(rows, recipe, classes, course, placement), recipe.optimiser
    adam = torch.optim.AdamW(
        parameter_groups(module, optimiser.weight_decay),
        lr=optimiser.learning_rate,
        betas=(optimiser.beta_1, optimiser.beta_2),
        fused=True,
    )
    module.train().to(placement.device)
    in_flight: deque[TensorBatch] = deque(maxlen=2)
    """On a GPU the supply copies into memory that is given back: a batch is held until its step is known to be over."""
    with cpu_threads(recipe.cpu_threads):
        for step, batch in enumerate(_batches(supply, recipe.epochs)):
            in_flight.append(batch)
            for group in adam.param_groups:
                group["lr"] = course.rate(step, step + 1, recipe)
            adam.zero_grad(set_to_none=True)
            loss = loss_of(batch)
            if not loss.isfinite():
                break
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), optimiser.clip_norm)
            adam.step()
    module.cpu().eval()


def _batches(supply: Supply, epochs: int) -> Iterator[TensorBatch]:
    """All epochs, one after the other, on the device."""
    step = 0
    for epoch in range(epochs):
        with closing(supply.epoch(epoch, step, Place(num_read=step))) as batches:
            for supplied in batches:
                yield supplied.on_device()
                step += 1


def first_batches(rows: RowStream, recipe: TrainingRecipe, classes: ClassTable, num_rows: int) -> list[TensorBatch]:
    """The first batches of the first epoch that hold so many rows, on the CPU."""
    supply, found = Supply(rows, recipe, classes, _course(rows, recipe), place("cpu", "fp32")), list[TensorBatch]()
    with closing(supply.epoch(0, 0, Place())) as batches:
        for supplied in batches:
            found.append(supplied.batch)
            if sum(map(len, found)) >= num_rows:
                break
    return found


def _placement(recipe: TrainingRecipe) -> Placement:
    return place(recipe.device, "fp32")


def _course(rows: RowStream, recipe: TrainingRecipe) -> Course:
    return Course(num_batches=sum(rows.num_batches(epoch) for epoch in range(recipe.epochs)))

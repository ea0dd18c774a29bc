"""Raw against curated against clean: the same model, the same number of steps, several seeds, one test table.

Knows trainers and tables; nothing of runs or servers. It says what curation was worth, with its error bars.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.errors import RequestError
from pipelines.training.evaluate import Evaluation, evaluate
from pipelines.training.recipe import LanguageModel, TrainingRecipe
from pipelines.training.report import TrainingReport
from pipelines.training.rows import RowStream, TableRows
from pipelines.training.trainer import Trainer

__all__ = ["Arm", "Comparison", "Contrast", "Rows", "compare"]

Rows = pa.Table | Callable[[TrainingRecipe, int], RowStream]
"""A table, or who opens a stream for (recipe with the seed of this try, steps it must last)."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Arm(_Frozen):
    """One kind of training rows, over all seeds. Accuracies for classifiers; for language models, test loss alone."""

    name: str
    num_rows: int | None
    """rows of the table; None for a stream"""
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    accuracy: float | None
    accuracy_se: float | None
    """standard error of the mean over seeds, n - 1 in the variance"""
    loss: float
    loss_se: float


class Contrast(_Frozen):
    """Curated minus raw, paired by seed: accuracy points for classifiers (higher is better), else test loss."""

    name: str
    mean: float
    se: float


class Comparison(_Frozen):
    """The arms in the order raw, curated, clean, and what separates them."""

    steps: int
    seeds: tuple[int, ...]
    test_rows: int
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    seconds: float

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)


def compare(
    raw: pa.Table,
    curated: Rows,
    clean: Rows | None,
    test: pa.Table,
    *,
    seeds: Sequence[int],
    recipe: TrainingRecipe,
    steps: int | None = None,
    on_run: Callable[[str, int, Evaluation], None] | None = None,
) -> Comparison:
    """Trains and scores every arm once for each seed; the arms of a seed share their first parameters.

    `steps` defaults to what the recipe's epochs take on `raw`; every arm gets exactly that many batches, an arm with
    fewer rows sees them more often. Labels are in the recipe's label column in every table: rename the column that is
    to be learned. The class table is the same for all arms as long as all hold every class. `on_run` hears of every
    trained model. Raises RequestError for fewer than three seeds or repeated ones.
    """
    if len(seeds) < 3 or len(set(seeds)) != len(seeds):
        raise RequestError(f"seeds {list(seeds)}: a standard error needs at least three different ones")
    steps = steps or recipe.epochs * -(-raw.num_rows // recipe.global_batch_size)
    named: dict[str, Rows] = {"raw": raw, "curated": curated} | ({} if clean is None else {"clean": clean})
    arms, seconds = [], 0.0
    for name, rows in named.items():
        found = []
        for seed in seeds:
            evaluation, report = _one(rows, test, recipe.model_copy(update={"seed": seed}), steps)
            found.append(evaluation)
            seconds += report.seconds
            if on_run is not None:
                on_run(name, seed, evaluation)
        arms.append(_arm(name, rows, found))
    return Comparison(
        steps=steps,
        seeds=tuple(seeds),
        test_rows=test.num_rows,
        arms=tuple(arms),
        contrasts=tuple(_contrast(arm, arms[0]) for arm in arms[1:]),
        seconds=seconds,
    )


def _one(rows: Rows, test: pa.Table, recipe: TrainingRecipe, steps: int) -> tuple[Evaluation, TrainingReport]:
    stream: RowStream = (
        TableRows(rows, seed=recipe.seed, global_batch_size=recipe.global_batch_size)
        if isinstance(rows, pa.Table)
        else rows(recipe, steps)
    )
    trainer = Trainer(stream, recipe, epochs=_epochs_for(stream, steps), total_steps=steps)
    report = trainer.run()
    return evaluate(trainer.learner.model, recipe, trainer.classes, test, placement=trainer.placement), report


def _epochs_for(stream: RowStream, steps: int) -> int:
    """The fewest epochs that give that many batches."""
    epoch = given = 0
    while given < steps:
        batches = stream.num_batches(epoch)
        if not batches:
            raise RequestError(f"{stream.manifest} gives no batch in epoch {epoch}; it cannot last {steps} steps")
        given, epoch = given + batches, epoch + 1
    return epoch


def _arm(name: str, rows: Rows, found: list[Evaluation]) -> Arm:
    accuracies = tuple(item.accuracy for item in found if item.accuracy is not None)
    losses = tuple(item.mean_loss for item in found)
    return Arm(
        name=name,
        num_rows=rows.num_rows if isinstance(rows, pa.Table) else None,
        accuracies=accuracies,
        losses=losses,
        accuracy=statistics.fmean(accuracies) if accuracies else None,
        accuracy_se=_standard_error(accuracies) if accuracies else None,
        loss=statistics.fmean(losses),
        loss_se=_standard_error(losses),
    )


def _contrast(arm: Arm, raw: Arm) -> Contrast:
    ours, theirs = (arm.accuracies, raw.accuracies) if arm.accuracies else (arm.losses, raw.losses)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    return Contrast(name=f"{arm.name} - raw", mean=statistics.fmean(differences), se=_standard_error(differences))


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))

"""Raw against curated against clean: the same model, the same number of steps, several seeds, one test table.

Knows trainers and tables; nothing of runs or servers. It says what curation was worth, with its error bars.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.client.sources import open_source
from curator.errors import RequestError
from pipelines.training.course import is_packed
from pipelines.training.evaluate import Evaluation, evaluate
from pipelines.training.feedback import Feedback
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.pull import epochs_for, open_rows
from pipelines.training.rows import RowStream, TableRows
from pipelines.training.trainer import Trainer

__all__ = ["Arm", "Comparison", "Contrast", "Rows", "compare"]

Rows: TypeAlias = pa.Table | tuple[Any, str]
"""A plain table, or (root or Client, manifest): then its shards are pulled by the recipe's epoch plan."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Arm(_Frozen):
    """One kind of training rows over all seeds. A score is a test accuracy, or a language model's test loss."""

    name: str
    num_rows: int
    scores: tuple[float, ...]
    mean: float
    standard_error: float
    """of the mean over seeds, n - 1 in the variance"""
    test_losses: tuple[float, ...]


class Contrast(_Frozen):
    """An arm's score minus raw's, paired by seed."""

    name: str
    mean: float
    standard_error: float


class Comparison(_Frozen):
    """The arms in the order raw, curated, clean, and what separates them from raw."""

    measure: Literal["accuracy", "loss"]
    steps: int
    seeds: tuple[int, ...]
    test_rows: int
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    seconds: float
    """training time, all arms and seeds together"""

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)


def compare(
    raw: Rows,
    curated: Rows,
    clean: Rows | None,
    test: pa.Table,
    *,
    seeds: Sequence[int],
    recipe: TrainingRecipe,
    steps: int | None = None,
    feedback: Feedback | None = None,
    training_job: str | None = None,
    on_run: Callable[[str, int, Evaluation], None] | None = None,
) -> Comparison:
    """Trains and scores every arm once for each seed; the arms of a seed share their first parameters.

    `steps` defaults to what the recipe's epochs take on `raw`; every arm gets exactly that many batches, so an arm
    with fewer rows sees them more often. The recipe's label column is read in every table: rename the column that is
    to be learned. `feedback` hears the losses of the curated arm under the first seed, as `training_job`; `on_run`
    hears the score of every trained model. Raises RequestError for fewer than three seeds or repeated ones, and for a
    packed recipe, whose steps are not rows.
    """
    if is_packed(recipe):
        raise RequestError(
            "layout: packed counts steps by tokens, and the arms are compared after equal numbers of rows; compare "
            "with `layout: padded`"
        )
    if len(seeds) < 3 or len(set(seeds)) != len(seeds):
        raise RequestError(f"seeds {list(seeds)}: a standard error needs at least three different ones")
    steps = steps or recipe.epochs * -(-_stream(raw, recipe, 1).num_rows // recipe.global_batch_size)
    named: dict[str, Rows] = {"raw": raw, "curated": curated} | ({} if clean is None else {"clean": clean})
    arms, seconds = [], 0.0
    for name, rows in named.items():
        found, num_rows = [], 0
        for seed in seeds:
            stream = _stream(rows, own := recipe.model_copy(update={"seed": seed}), steps)
            listener = feedback if name == "curated" and seed == seeds[0] else None
            trainer = Trainer(
                stream,
                own,
                feedback=listener,
                training_job=training_job,
                total_steps=steps,
                epochs=_epochs(stream, steps),
            )
            seconds, num_rows = seconds + trainer.run().seconds, stream.num_rows
            score = evaluate(trainer.learner.model, own, trainer.classes, test, placement=trainer.placement)
            found.append(score)
            if on_run is not None:
                on_run(name, seed, score)
        arms.append(_arm(name, num_rows, found))
    return Comparison(
        measure="loss" if recipe.kind == "language-model" else "accuracy",
        steps=steps,
        seeds=tuple(seeds),
        test_rows=test.num_rows,
        arms=tuple(arms),
        contrasts=tuple(_contrast(arm, arms[0]) for arm in arms[1:]),
        seconds=seconds,
    )


def _stream(rows: Rows, recipe: TrainingRecipe, steps: int) -> RowStream:
    if isinstance(rows, pa.Table):
        return TableRows(rows, seed=recipe.seed, global_batch_size=recipe.global_batch_size)
    source, name = open_source(rows[0]), rows[1]
    manifest = source.manifest(name)
    return open_rows(source, manifest, recipe, num_epochs=epochs_for(manifest, recipe, steps))


def _epochs(stream: RowStream, steps: int) -> int:
    """The fewest epochs that give that many batches."""
    epoch = given = 0
    while given < steps:
        given, epoch = given + stream.num_batches(epoch), epoch + 1
    return epoch


def _arm(name: str, num_rows: int, found: list[Evaluation]) -> Arm:
    scores = tuple(item.mean_loss if item.accuracy is None else item.accuracy for item in found)
    return Arm(
        name=name,
        num_rows=num_rows,
        scores=scores,
        mean=statistics.fmean(scores),
        standard_error=_standard_error(scores),
        test_losses=tuple(item.mean_loss for item in found),
    )


def _contrast(arm: Arm, raw: Arm) -> Contrast:
    differences = [ours - theirs for ours, theirs in zip(arm.scores, raw.scores, strict=True)]
    return Contrast(
        name=f"{arm.name} - raw", mean=statistics.fmean(differences), standard_error=_standard_error(differences)
    )


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))

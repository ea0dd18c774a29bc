"""A training job from first row to last: epochs of a row stream through a learner, feedback out, checkpoints down.

Knows streams, learners and folders; nothing of catalogs, servers or clusters. `train` takes a manifest, `Trainer` any
row stream.

On one CPU with a fixed number of threads a job is a function of (rows, recipe): killed anywhere and resumed, it ends
with the same bytes as one that was never killed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from curator.digest import content_id
from curator.errors import ConflictError, RequestError, RunFailedError
from curator.storage import Store
from pipelines.training import checkpoint as disk
from pipelines.training.classes import ClassTable
from pipelines.training.clock import Clock, Reading, Underway
from pipelines.training.course import Course, is_packed
from pipelines.training.feed import TensorBatch
from pipelines.training.feedback import Feedback, FeedbackBuffer
from pipelines.training.instruments import Instruments
from pipelines.training.kernels import for_process, probe
from pipelines.training.kinds import ImageClassifier, LanguageModel, TrainingRecipe
from pipelines.training.memory import prepare_allocator
from pipelines.training.meters import WARM_UP
from pipelines.training.model import build, num_parameters
from pipelines.training.precision import cpu_threads, place_recipe
from pipelines.training.pull import open_rows
from pipelines.training.report import StepRecord, Tally, TrainingReport
from pipelines.training.row_losses import RowLosses
from pipelines.training.rows import RowStream
from pipelines.training.step import Learner
from pipelines.training.supply import Place, Supplied, Supply

__all__ = ["OnStep", "ShouldStop", "Trainer", "refuse_many_processes", "train"]

OnStep = Callable[[StepRecord], None]
ShouldStop = Callable[[], bool]

_STEPS_IN_FLIGHT = 3
"""On a GPU, a step's losses are looked at when this many later ones have been launched, so that it never waits."""


def train(
    source: Any,
    manifest: str,
    recipe: TrainingRecipe,
    *,
    checkpoint_dir: str | os.PathLike[str],
    resume: bool = True,
    feedback: Feedback | None = None,
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
    training_job: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    log_dir: str | os.PathLike[str] | None = None,
) -> TrainingReport:
    """Pulls a manifest's curated shards by the recipe's epoch plan and trains; see `Trainer` and `pull.open_rows`.

    `source`: a root directory or object-store URL, a Store, or a Client. `checkpoint_dir` holds the checkpoint while
    the job lives and `model.safetensors` when it is done; a checkpoint there is gone on from, unless `resume` is off.
    `feedback` gets tables of FEEDBACK_SCHEMA, every (epoch, sample) at least once, again with the same values after a
    resume. `on_step` and `should_stop` are called after every step (on a GPU `on_step` comes up to 3 steps late).
    `log_dir`: a local folder for TensorBoard.
    """
    trainer = Trainer(
        open_rows(source, manifest, recipe, cache_dir=cache_dir),
        recipe,
        checkpoint_dir=checkpoint_dir,
        training_job=training_job,
        resume=resume,
        feedback=feedback,
        on_step=on_step,
        should_stop=should_stop,
        log_dir=log_dir,
    )
    return trainer.run()


@dataclass(frozen=True)
class _Pending:
    batch: TensorBatch
    underway: Underway
    step: int
    total_steps: int
    rate: float


class Trainer:
    """One job over one row stream. Make it, `run()` it; `learner.model` and `classes` are the outcome."""

    def __init__(
        self,
        rows: RowStream,
        recipe: TrainingRecipe,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        training_job: str | None = None,
        resume: bool = True,
        feedback: Feedback | None = None,
        on_step: OnStep | None = None,
        should_stop: ShouldStop | None = None,
        epochs: int | None = None,
        total_steps: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
    ):
        """`epochs` and `total_steps` default to the recipe's epochs, whole; fewer steps end inside an epoch.

        Raises ConflictError when the folder holds a checkpoint of another job and `resume` is on; RequestError when
        there are no rows; InputError when the labels make no classes; RecipeError when the device is missing.
        """
        refuse_many_processes()
        self.rows, self.recipe = rows, recipe
        self.job = training_job or content_id("trn", {"manifest": rows.manifest, "recipe": recipe.digest})
        self.store = None if checkpoint_dir is None else Store.open(checkpoint_dir)
        self.placement = place_recipe(recipe)
        self.epochs = recipe.epochs if epochs is None else epochs
        available = sum(rows.num_batches(epoch) for epoch in range(self.epochs))
        self.course = Course(num_batches=available, limit=total_steps, packed=is_packed(recipe))
        if not available or total_steps == 0:
            raise RequestError(
                f"{rows.manifest} gives no batch of {recipe.global_batch_size} rows in {self.epochs} epochs: there is "
                "nothing to train on. Look at what the run kept (winnow report), or make global_batch_size smaller."
            )
        found = disk.read(self.store) if self.store is not None and resume else None
        self.classes = self._class_table(found[0] if found else None)
        self.attention = self._attention()
        self.learner = Learner(
            build(recipe, len(self.classes or ()), self.placement.device),
            recipe.optimiser,
            self.placement,
            compile_with="inductor" if recipe.compile else None,
        )
        self.epoch, self.step, self.tally, self.place = 0, 0, Tally(), Place()
        self._row_losses = RowLosses()
        self.resumed_from = self._resume(*found) if found else None
        self._supply = Supply(rows, recipe, self.classes, self.course, self.placement)
        self._feedback = FeedbackBuffer(feedback, plan=rows.plan, training_job=self.job)
        self._on_step, self._should_stop = on_step, should_stop
        self._instruments = Instruments(self.learner.model, self.placement, log_dir)
        self._clock = Clock(self.placement.device)
        self._pending: deque[_Pending] = deque()
        self._steps_here, self._began = 0, time.monotonic()

    @property
    def total_steps(self) -> int:
        """Of the whole job; of a packed one, an estimate until it is done."""
        return self.step if self.finished else self.course.total_steps(self.step, self.place.num_read)

    @property
    def finished(self) -> bool:
        return self.epoch == self.epochs or self._at_limit

    @property
    def _at_limit(self) -> bool:
        return self.step == self.course.limit

    def run(self) -> TrainingReport:
        """Trains to the end, or until `should_stop()` says so after a step; then the checkpoint is where it stands.

        Raises InputError for a row that cannot be learned from, RunFailedError when the loss stops being a number.
        """
        self._began = time.monotonic()
        with cpu_threads(self.recipe.cpu_threads), closing(self._instruments):
            while not self.finished and self._run_epoch():
                self._end_epoch()
        return self.report()

    def report(self) -> TrainingReport:
        """Where the job stands."""
        tally, recipe = self.tally, self.recipe
        folder = None if self.store is None else self.store.uri.rstrip("/")
        counts = tally.model_dump(exclude={"epoch_loss", "epoch_samples"})
        return TrainingReport(
            training_job=self.job,
            manifest=self.rows.manifest,
            plan=self.rows.plan,
            kind=recipe.kind,
            finished=self.finished,
            epochs=self.epoch,
            steps=self.step,
            total_steps=self.total_steps,
            resumed_from=self.resumed_from,
            num_classes=None if self.classes is None else len(self.classes),
            num_parameters=num_parameters(self.learner.model),
            device=str(self.placement.device),
            precision=self.placement.precision,
            attention=self.attention,
            samples_per_s=tally.num_samples / tally.seconds if tally.seconds else 0.0,
            pace=self._instruments.overall,
            matmul_flops_per_s=self._instruments.matmul_flops_per_s,
            allocator=self._instruments.allocator,
            peak_memory_bytes=self._instruments.peak_memory_bytes,
            checkpoint=folder and f"{folder}/{disk.CHECKPOINT}",
            model=f"{folder}/{disk.MODEL}" if folder and self.finished else None,
            **counts,
        )

    def _class_table(self, found: disk.Checkpoint | None) -> ClassTable | None:
        if isinstance(self.recipe, LanguageModel):
            return None
        if found is not None and found.classes is not None:
            return ClassTable(found.classes)
        column = self.recipe.columns.label
        return ClassTable.of(self.rows.labels(column), column=column)

    def _attention(self) -> str | None:
        """Chooses attention's kernels, before anything is compiled, and sees which run."""
        prepare_allocator()
        for_process()
        recipe = self.recipe
        if isinstance(recipe, ImageClassifier):
            return None
        return probe(
            self.placement.device,
            self.placement.attention_dtype,
            heads=recipe.heads,
            width=recipe.width // recipe.heads,
            length=recipe.context,
            packed=is_packed(recipe),
            padded=not isinstance(recipe, LanguageModel),
            causal=isinstance(recipe, LanguageModel),
            window=recipe.window if isinstance(recipe, LanguageModel) else None,
        )

    def _resume(self, found: disk.Checkpoint, tensors: dict[str, torch.Tensor]) -> int:
        here = {
            "training_job": self.job,
            "manifest": self.rows.manifest,
            "plan": self.rows.plan,
            "recipe": self.recipe,
            "precision": self.placement.precision,
            "course": self.course,
        }
        other = [name for name, value in here.items() if getattr(found, name) != value]
        if other:
            assert self.store is not None
            shown = "; ".join(f"{name}: {_brief(getattr(found, name))}, now {_brief(here[name])}" for name in other)
            raise ConflictError(
                f"{self.store.uri} holds the checkpoint of another job ({shown}). Going on from it would mix the two. "
                "Use another checkpoint folder, or start over with resume off."
            )
        disk.restore(self.learner, found, tensors)
        self.epoch, self.step, self.tally = found.epoch, found.step, found.tally
        self.place, self._row_losses = disk.place_of(found, tensors), RowLosses(found.row_losses)
        return found.step

    def _run_epoch(self) -> bool:
        """The rest of the epoch; False when it was stopped inside."""
        with closing(self._supply.epoch(self.epoch, self.step, self.place)) as batches:
            for supplied in batches:
                self._one(supplied)
                if self._at_limit:
                    return True
                if self._should_stop is not None and self._should_stop():
                    self._save()
                    return False
        return True

    def _one(self, supplied: Supplied) -> None:
        began = self._clock.mark()
        rate = self.course.rate(self.step, supplied.place.num_read, self.recipe)
        result = self.learner.step(supplied.on_device(), rate)
        self.step, self.place, self._steps_here = self.step + 1, supplied.place, self._steps_here + 1
        total = self.course.total_steps(self.step, self.place.num_read)
        underway = self._clock.launched(began, result)
        self._pending.append(_Pending(supplied.batch, underway, self.step, total, rate))
        self._settle(_STEPS_IN_FLIGHT if self.placement.device.type == "cuda" else 0)
        if self._steps_here == WARM_UP:
            self._settle()
            self._instruments.warm()
        if self.step % self.recipe.checkpoint_every == 0 and not self._at_limit:
            self._save()

    def _end_epoch(self) -> None:
        self._settle()
        tally, read = self.tally, self.place.num_read
        promised = sum(self.rows.num_batches(epoch) for epoch in range(self.epoch + 1))
        if read != promised and not self._at_limit:
            raise RunFailedError(
                f"plan {self.rows.plan} promised {promised} batches up to epoch {self.epoch} and {read} came: "
                "rows would be missed or repeated. Check the manifest (winnow report) and resume."
            )
        mean = tally.epoch_loss / max(tally.epoch_samples, 1)
        self.tally = tally.model_copy(update={"losses": (*tally.losses, mean), "epoch_loss": 0.0, "epoch_samples": 0})
        self.epoch, self.place = self.epoch + 1, Place(num_read=read)
        if self.finished and self.store is not None:
            disk.save_model(self.store, self.learner.model, self.recipe, self.classes)
        self._save()

    def _settle(self, in_flight: int = 0) -> None:
        """Looks at what all but the last few steps saw: counts, feedback, `on_step`, a loss that must be a number."""
        while len(self._pending) > in_flight:
            pending = self._pending.popleft()
            seen = self._clock.read(pending.underway)
            if not np.isfinite(seen.mean):
                raise RunFailedError(
                    f"the loss of step {pending.step} is {seen.mean} ({self.placement.precision}): the model is lost. "
                    "The last checkpoint stands; start over with a smaller learning_rate, or with bf16 or fp32."
                )
            sample_ids, losses = self._row_losses.settle(pending.batch, seen.losses)
            self._count(pending.batch, seen, losses)
            self._feedback.add(sample_ids, self.epoch, pending.step, losses, seen.correct)
            self._tell(pending, seen, len(losses))

    def _count(self, batch: TensorBatch, seen: Reading, losses: np.ndarray) -> None:
        """`losses`: of the rows that are complete."""
        tally, now = self.tally, time.monotonic()
        known = losses[~np.isnan(losses)].astype(np.float64)
        self._instruments.add(batch, seen, len(losses))
        self.tally = tally.model_copy(
            update={
                "num_samples": tally.num_samples + len(losses) + batch.num_without_target,
                "num_tokens": tally.num_tokens + batch.num_tokens,
                "num_truncated": tally.num_truncated + batch.num_truncated,
                "bytes_truncated": tally.bytes_truncated + batch.bytes_truncated,
                "num_resized": tally.num_resized + batch.num_resized,
                "num_without_target": tally.num_without_target + batch.num_without_target + len(losses) - len(known),
                "num_skipped_steps": tally.num_skipped_steps + seen.skipped,
                "last_loss": seen.mean,
                "epoch_loss": tally.epoch_loss + float(known.sum()),
                "epoch_samples": tally.epoch_samples + len(known),
                "seconds": tally.seconds + now - self._began,
            }
        )
        self._began = now

    def _tell(self, pending: _Pending, seen: Reading, num_samples: int) -> None:
        record = StepRecord(
            epoch=self.epoch,
            step=pending.step,
            total_steps=pending.total_steps,
            loss=seen.mean,
            learning_rate=pending.rate,
            gradient_norm=seen.gradient_norm,
            num_samples=num_samples,
            pace=self._instruments.recent,
            memory_bytes=self._instruments.peak_memory_bytes,
        )
        self._instruments.log(record)
        if self._on_step is not None:
            self._on_step(record)

    def _save(self) -> None:
        """Feedback first, then the checkpoint: a crash between the two repeats feedback, it never skips any."""
        self._settle()
        self._feedback.flush()
        self._instruments.flush()
        if self.store is None:
            return
        found = disk.Checkpoint(
            training_job=self.job,
            manifest=self.rows.manifest,
            plan=self.rows.plan,
            recipe=self.recipe,
            classes=None if self.classes is None else self.classes.labels,
            precision=self.placement.precision,
            epoch=self.epoch,
            step=self.step,
            course=self.course,
            cursor=self.place.cursor,
            num_read=self.place.num_read,
            row_losses=self._row_losses.state(),
            scaler=self.learner.scaler.state_dict(),
            tally=self.tally,
        )
        disk.save(self.store, self.learner, found, self.place)


def refuse_many_processes() -> None:
    """This stage uses one device. Raises RequestError under a launcher of several, where each would train alone."""
    world = os.environ.get("WORLD_SIZE", "1")
    if world not in ("", "1"):
        raise RequestError(
            f"WORLD_SIZE is {world}: a launcher started several processes, and each would train a whole model of "
            "its own. Start one, or pull ranks of the plan with ShardStream into your own distributed loop."
        )


def _brief(value: Any) -> str:
    if isinstance(value, Course):
        return f"{value.num_batches} batches" + (f", {value.limit} steps" if value.limit is not None else "")
    return f"recipe {value.digest[:12]}" if hasattr(value, "digest") else repr(value)

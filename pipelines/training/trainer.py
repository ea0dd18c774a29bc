"""A training job from first row to last: epochs of a row stream through a learner, feedback out, checkpoints down.

Knows streams, learners and folders; nothing of catalogs, servers or clusters. `train` takes a manifest, `Trainer` any
row stream.

On one CPU with a fixed number of threads a job is a function of (rows, recipe): killed anywhere and resumed, it ends
with the same bytes as one that was never killed.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Generator, Iterator
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
from pipelines.training.feed import TensorBatch, feed_for
from pipelines.training.feedback import Feedback, FeedbackBuffer
from pipelines.training.kinds import LanguageModel, TrainingRecipe
from pipelines.training.model import build, num_parameters
from pipelines.training.precision import cpu_threads, place
from pipelines.training.pull import open_rows
from pipelines.training.read_ahead import read_ahead
from pipelines.training.report import StepRecord, Tally, TrainingReport
from pipelines.training.rows import RowStream
from pipelines.training.schedule import learning_rate
from pipelines.training.step import Learner, StepResult

__all__ = ["OnStep", "ShouldStop", "Trainer", "refuse_many_processes", "train"]

OnStep = Callable[[StepRecord], None]
ShouldStop = Callable[[], bool]

_READ_AHEAD = 2
_STEPS_IN_FLIGHT = 16
"""On a GPU, losses are fetched this many steps at a time, so that no step waits for the one before it."""


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
) -> TrainingReport:
    """Pulls a manifest's curated shards by the recipe's epoch plan and trains; see `Trainer` and `pull.open_rows`.

    `source`: a root directory or object-store URL, a Store, or a Client. `checkpoint_dir` holds the checkpoint while
    the job lives and `model.safetensors` when it is done; a checkpoint there is gone on from, unless `resume` is off.
    `feedback` gets tables of FEEDBACK_SCHEMA, every (epoch, sample) at least once, again with the same values after a
    resume. `on_step` and `should_stop` are called after every step (on a GPU `on_step` comes up to 16 steps late).
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
    )
    return trainer.run()


@dataclass(frozen=True)
class _Pending:
    batch: TensorBatch
    result: StepResult
    step: int
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
    ):
        """`epochs` and `total_steps` default to the recipe's epochs, whole; fewer steps end inside an epoch.

        Raises ConflictError when the folder holds a checkpoint of another job and `resume` is on; RequestError when
        there are no rows; InputError when the labels make no classes; RecipeError when the device is missing.
        """
        refuse_many_processes()
        self.rows, self.recipe = rows, recipe
        self.job = training_job or content_id("trn", {"manifest": rows.manifest, "recipe": recipe.digest})
        self.store = None if checkpoint_dir is None else Store.open(checkpoint_dir)
        self.placement = place(recipe.device, recipe.precision)
        self.epochs = recipe.epochs if epochs is None else epochs
        available = sum(rows.num_batches(epoch) for epoch in range(self.epochs))
        self.total_steps = available if total_steps is None else min(total_steps, available)
        if not self.total_steps:
            raise RequestError(
                f"{rows.manifest} gives no batch of {recipe.global_batch_size} rows in {self.epochs} epochs: there is "
                "nothing to train on. Look at what the run kept (winnow report), or make global_batch_size smaller."
            )
        found = disk.read(self.store) if self.store is not None and resume else None
        self.classes = self._class_table(found[0] if found else None)
        self.learner = Learner(
            build(recipe, len(self.classes or ()), self.placement.device),
            recipe.optimiser,
            self.placement,
            compile_with="inductor" if recipe.compile else None,
        )
        self.epoch, self.step, self.tally = 0, 0, Tally()
        self._cursor: dict[str, Any] | None = None
        self.resumed_from = self._resume(*found) if found else None
        self._feed = feed_for(recipe, self.classes)
        self._feedback = FeedbackBuffer(feedback, plan=rows.plan, training_job=self.job)
        self._on_step, self._should_stop = on_step, should_stop
        self._pending: list[_Pending] = []
        self._began = time.monotonic()

    def run(self) -> TrainingReport:
        """Trains to the end, or until `should_stop()` says so after a step; then the checkpoint is where it stands.

        Raises InputError for a row that cannot be learned from, RunFailedError when the loss stops being a number.
        """
        self._began = time.monotonic()
        with cpu_threads(self.recipe.cpu_threads):
            while self.step < self.total_steps and self._run_epoch():
                self._end_epoch()
        return self.report()

    def report(self) -> TrainingReport:
        """Where the job stands."""
        tally, recipe = self.tally, self.recipe
        folder = None if self.store is None else self.store.uri.rstrip("/")
        finished = self.step == self.total_steps
        counts = tally.model_dump(exclude={"epoch_loss", "epoch_samples"})
        return TrainingReport(
            training_job=self.job,
            manifest=self.rows.manifest,
            plan=self.rows.plan,
            kind=recipe.kind,
            finished=finished,
            epochs=self.epoch,
            steps=self.step,
            total_steps=self.total_steps,
            resumed_from=self.resumed_from,
            num_classes=None if self.classes is None else len(self.classes),
            num_parameters=num_parameters(self.learner.model),
            device=str(self.placement.device),
            precision=self.placement.precision,
            samples_per_s=tally.num_samples / tally.seconds if tally.seconds else 0.0,
            peak_memory_bytes=_peak_memory_bytes(self.placement.device),
            checkpoint=folder and f"{folder}/{disk.CHECKPOINT}",
            model=f"{folder}/{disk.MODEL}" if folder and finished else None,
            **counts,
        )

    def _class_table(self, found: disk.Checkpoint | None) -> ClassTable | None:
        if isinstance(self.recipe, LanguageModel):
            return None
        if found is not None and found.classes is not None:
            return ClassTable(found.classes)
        column = self.recipe.columns.label
        return ClassTable.of(self.rows.labels(column), column=column)

    def _resume(self, found: disk.Checkpoint, tensors: dict[str, torch.Tensor]) -> int:
        here = {
            "training_job": self.job,
            "manifest": self.rows.manifest,
            "plan": self.rows.plan,
            "recipe": self.recipe,
            "precision": self.placement.precision,
            "total_steps": self.total_steps,
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
        self.epoch, self.step, self.tally, self._cursor = found.epoch, found.step, found.tally, found.cursor
        return found.step

    def _run_epoch(self) -> bool:
        """The rest of the epoch; False when it was stopped inside."""
        with closing(self._batches()) as batches:
            for batch, cursor in batches:
                self._one(batch, cursor)
                if self.step == self.total_steps:
                    return True
                if self._should_stop is not None and self._should_stop():
                    self._save()
                    return False
        return True

    def _batches(self) -> Generator[tuple[TensorBatch, dict[str, Any]], None, None]:
        """The rest of the epoch as tensors, each with the stream's place after it."""
        self.rows.set_epoch(self.epoch)
        if self._cursor is not None:
            self.rows.load_state_dict(self._cursor)
        on_gpu = self.placement.device.type == "cuda"
        return read_ahead(self._tensors(self.step), _READ_AHEAD if on_gpu else 0)

    def _tensors(self, step: int) -> Iterator[tuple[TensorBatch, dict[str, Any]]]:
        for batch in self.rows.iter_batches():
            tensors = self._feed(batch, step)
            yield tensors.pinned() if self.placement.device.type == "cuda" else tensors, self.rows.state_dict()
            step += 1

    def _one(self, batch: TensorBatch, cursor: dict[str, Any]) -> None:
        rate = learning_rate(self.step, self.total_steps, self.recipe.optimiser)
        result = self.learner.step(batch.to(self.placement.device), rate)
        self.step, self._cursor = self.step + 1, cursor
        self._pending.append(_Pending(batch, result, self.step, rate))
        if self.placement.device.type == "cpu" or len(self._pending) >= _STEPS_IN_FLIGHT:
            self._settle()
        if self.step % self.recipe.checkpoint_every == 0 and self.step < self.total_steps:
            self._save()

    def _end_epoch(self) -> None:
        self._settle()
        tally = self.tally
        promised = sum(self.rows.num_batches(epoch) for epoch in range(self.epoch + 1))
        if self.step != min(promised, self.total_steps):
            raise RunFailedError(
                f"plan {self.rows.plan} promised {promised} batches up to epoch {self.epoch} and {self.step} came: "
                "rows would be missed or repeated. Check the manifest (winnow report) and resume."
            )
        mean = tally.epoch_loss / tally.epoch_samples
        self.tally = tally.model_copy(update={"losses": (*tally.losses, mean), "epoch_loss": 0.0, "epoch_samples": 0})
        self.epoch, self._cursor = self.epoch + 1, None
        if self.step == self.total_steps and self.store is not None:
            disk.save_model(self.store, self.learner.model, self.recipe, self.classes)
        self._save()

    def _settle(self) -> None:
        """Fetches what the pending steps saw: counts, feedback, `on_step`, and a loss that must be a number."""
        for pending in self._pending:
            losses = pending.result.per_sample_B.float().cpu().numpy()
            correct = None if pending.result.correct_B is None else pending.result.correct_B.cpu().numpy()
            mean = float(pending.result.mean)
            if not np.isfinite(mean):
                raise RunFailedError(
                    f"the loss of step {pending.step} is {mean} ({self.placement.precision}): the model is lost. "
                    "The last checkpoint stands; start over with a smaller learning_rate, or with bf16 or fp32."
                )
            self._count(pending, losses, mean)
            self._feedback.add(pending.batch.sample_ids, self.epoch, pending.step, losses, correct)
            if self._on_step is not None:
                self._on_step(self._record(pending, mean))
        self._pending.clear()

    def _count(self, pending: _Pending, losses: np.ndarray, mean: float) -> None:
        batch, tally = pending.batch, self.tally
        known = losses[~np.isnan(losses)].astype(np.float64)
        now = time.monotonic()
        self.tally = tally.model_copy(
            update={
                "num_samples": tally.num_samples + len(batch),
                "num_tokens": tally.num_tokens + batch.num_tokens,
                "num_truncated": tally.num_truncated + batch.num_truncated,
                "bytes_truncated": tally.bytes_truncated + batch.bytes_truncated,
                "num_resized": tally.num_resized + batch.num_resized,
                "num_without_target": tally.num_without_target + len(losses) - len(known),
                "num_skipped_steps": tally.num_skipped_steps + pending.result.skipped,
                "last_loss": mean,
                "epoch_loss": tally.epoch_loss + float(known.sum()),
                "epoch_samples": tally.epoch_samples + len(known),
                "seconds": tally.seconds + now - self._began,
            }
        )
        self._began = now

    def _record(self, pending: _Pending, mean: float) -> StepRecord:
        return StepRecord(
            epoch=self.epoch,
            step=pending.step,
            total_steps=self.total_steps,
            loss=mean,
            learning_rate=pending.rate,
            gradient_norm=float(pending.result.gradient_norm),
            num_samples=len(pending.batch),
        )

    def _save(self) -> None:
        """Feedback first, then the checkpoint: a crash between the two repeats feedback, it never skips any."""
        self._settle()
        self._feedback.flush()
        if self.store is None:
            return
        disk.save(
            self.store,
            self.learner,
            disk.Checkpoint(
                training_job=self.job,
                manifest=self.rows.manifest,
                plan=self.rows.plan,
                recipe=self.recipe,
                classes=None if self.classes is None else self.classes.labels,
                precision=self.placement.precision,
                epoch=self.epoch,
                step=self.step,
                total_steps=self.total_steps,
                cursor=self._cursor,
                scaler=self.learner.scaler.state_dict(),
                tally=self.tally,
            ),
        )


def refuse_many_processes() -> None:
    """This stage uses one device. Raises RequestError under a launcher of several, where each would train alone."""
    world = os.environ.get("WORLD_SIZE", "1")
    if world not in ("", "1"):
        raise RequestError(
            f"WORLD_SIZE is {world}: a launcher started several processes, and each would train a whole model of "
            "its own. Start one, or pull ranks of the plan with ShardStream into your own distributed loop."
        )


def _brief(value: Any) -> str:
    return f"recipe {value.digest[:12]}" if hasattr(value, "digest") else repr(value)


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

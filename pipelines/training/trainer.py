"""A training job from first row to last: epochs of a row stream through a learner, feedback out, checkpoints down.

Knows streams, learners and folders; nothing of catalogs, servers or clusters. `train` takes a manifest, `Trainer` any
row stream.

On one CPU with a fixed number of threads a job is a function of (rows, recipe): killed anywhere and resumed, it ends
with the same bytes as one that was never killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch

from curator.digest import content_id
from curator.errors import InputError, RequestError, RunFailedError
from curator.storage import Store
from pipelines.training import checkpoint as disk
from pipelines.training.accounts import Accounts, OnStep, Taken
from pipelines.training.classes import ClassTable
from pipelines.training.clock import Clock
from pipelines.training.course import Course, in_blocks, is_packed
from pipelines.training.feedback import Feedback, FeedbackBuffer
from pipelines.training.identity import Identity
from pipelines.training.instruments import Instruments
from pipelines.training.kernels import for_process, probe
from pipelines.training.kinds import ImageClassifier, LanguageModel, TrainingRecipe, VideoClassifier
from pipelines.training.memory import prepare_allocator
from pipelines.training.meters import WARM_UP
from pipelines.training.model import build, num_parameters
from pipelines.training.parallel.launch import launch
from pipelines.training.parallel.ranks import ALONE, Ranks, joined
from pipelines.training.parallel.ways import spread_for
from pipelines.training.precision import cpu_threads, place_recipe
from pipelines.training.pull import open_rows
from pipelines.training.report import Tally, TrainingReport
from pipelines.training.rows import RowStream
from pipelines.training.step import Learner
from pipelines.training.supply import Place, Supplied, Supply
from pipelines.training.write_behind import WriteBehind

__all__ = ["OnStep", "ShouldStop", "Trainer", "train"]

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
    resume. `on_step` is called after every step (on a GPU up to 3 steps late), `should_stop` between steps.
    `log_dir`: a local folder for TensorBoard.
    """
    with joined(recipe) as ranks:
        trainer = Trainer(
            open_rows(source, manifest, recipe, cache_dir=cache_dir, rank=ranks.rank, world_size=ranks.world_size),
            recipe,
            checkpoint_dir=checkpoint_dir,
            training_job=training_job,
            resume=resume,
            feedback=feedback,
            on_step=on_step,
            should_stop=should_stop,
            log_dir=log_dir,
            ranks=ranks,
        )
        return trainer.run()


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
        ranks: Ranks | None = None,
    ):
        """`epochs` and `total_steps` default to the recipe's epochs, whole; fewer steps end inside an epoch.

        Raises ConflictError when the folder holds a checkpoint of another job and `resume` is on; RequestError when
        there are no rows; InputError when the labels make no classes; RecipeError when the device is missing.
        """
        self.rows, self.recipe, self.ranks = rows, recipe, ranks or _alone()
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
        returned = self.ranks.board is not None and self.ranks.board.returned
        found = self._found() if resume and not returned else None
        self.classes = self._class_table(found[0] if found else None)
        self.attention = self._attention()
        self.learner = Learner(
            build(recipe, len(self.classes or ()), self.placement.device),
            recipe.optimiser,
            self.placement,
            compile_with="inductor" if recipe.compile else None,
            spread=spread_for(recipe, self.ranks, self.placement, self.course.total_steps(0, 0)),
        )
        self.epoch, self.step, self.place = 0, 0, Place()
        self._supply = Supply(
            rows,
            recipe,
            self.classes,
            self.course,
            self.placement,
            shared=self.ranks.world_size > 1,
            rank=self.ranks.rank,
            num_ranks=self.ranks.together,
        )
        self._instruments = Instruments(self.learner.model, self.placement, log_dir if self.ranks.leads else None)
        self._clock = Clock(self.placement.device)
        self._behind = WriteBehind(self.placement.device.type == "cuda")
        self._accounts = Accounts(
            self._clock,
            FeedbackBuffer(feedback, plan=rows.plan, training_job=self.job),
            self._instruments,
            tally=found[0].tally if found else Tally(),
            row_losses=found[0].row_losses if found else None,
            on_step=on_step,
            ranks=self.ranks,
        )
        self._should_stop = should_stop
        self._steps_here = 0
        self.resumed_from = self._resume(*found) if found else None

    @property
    def tally(self) -> Tally:
        return self._accounts.tally

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
        """Trains to the end, or until `should_stop()` says so between two steps, on any rank; then the checkpoint is
        where it stands.

        Raises InputError for a row that cannot be learned from, RunFailedError when the loss stops being a number.
        """
        with cpu_threads(self.recipe.cpu_threads), closing(self._instruments), self._behind:
            step = self.learner.spread.begin()
            if step is not None:
                self._stand_at(step)
            self._accounts.begin()
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
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            lost_ranks=() if self.ranks.board is None else self.ranks.board.lost,
            **asdict(self.learner.spread.traffic),
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
            length=recipe.num_places if isinstance(recipe, VideoClassifier) else recipe.context,
            packed=is_packed(recipe),
            padded=not isinstance(recipe, (LanguageModel, VideoClassifier)),
            causal=isinstance(recipe, LanguageModel),
            window=recipe.window if isinstance(recipe, LanguageModel) else None,
            compiled=in_blocks(recipe),
        )

    @property
    def _identity(self) -> Identity:
        return Identity(
            training_job=self.job,
            manifest=self.rows.manifest,
            plan=self.rows.plan,
            recipe=self.recipe,
            precision=self.placement.precision,
            course=self.course,
        )

    def _found(self) -> tuple[disk.Checkpoint, dict[str, torch.Tensor]] | None:
        """The folder's checkpoint, if it is this job's."""
        found = None if self.store is None else disk.read(self.store)
        if found is not None:
            assert self.store is not None
            self._identity.refuse_other(found[0].identity, self.store.uri)
        return found

    def _resume(self, found: disk.Checkpoint, tensors: dict[str, torch.Tensor]) -> int:
        assert self.store is not None
        disk.restore(self.learner, found, tensors, self.store)
        self.epoch, self.step, self.place = found.epoch, found.step, disk.place_of(found, tensors)
        return found.step

    def _stand_at(self, step: int) -> None:
        """Goes to where other ranks are; what this one would have read meanwhile stays unread."""
        epoch, done = 0, step
        while epoch < self.epochs and done >= self.rows.num_batches(epoch):
            epoch, done = epoch + 1, done - self.rows.num_batches(epoch)
        self.epoch, self.step, self.resumed_from = epoch, step, step
        self.place = Place(self.rows.cursor(epoch, done) if done else None, step)

    def _run_epoch(self) -> bool:
        """The rest of the epoch; False when it was stopped inside."""
        with closing(self._supply.epoch(self.epoch, self.step, self.place)) as batches:
            for supplied in batches:
                # a job that is begun takes a step, so that one stopped again and again still ends
                asked = self._should_stop is not None and self._steps_here > 0 and self._should_stop()
                targets, stops = self.ranks.before_step(supplied.num_targets, asked, self.step)
                if stops:
                    self._save()
                    return False
                self._one(supplied, targets)
                if self._at_limit:
                    break
        return True

    def _one(self, supplied: Supplied, targets: float) -> None:
        """`targets`: of all ranks that take the step together; its loss is the mean over them."""
        if not targets and self.ranks.board is None:
            raise InputError(
                f"no row of the batch of step {self.step + 1} has a byte of text inside the context: there is nothing "
                "to learn; raise `context`"
            )
        share = supplied.num_targets * self.ranks.together / max(targets, 1)
        began = self._clock.mark()
        rate = self.course.rate(self.step, supplied.place.num_read, self.recipe)
        result = self.learner.step(supplied.on_device(), rate, share)
        self.step, self.place, self._steps_here = self.step + 1, supplied.place, self._steps_here + 1
        self.learner.spread.stepped(self.step)
        total = self.course.total_steps(self.step, self.place.num_read)
        underway = self._clock.launched(began, result)
        self._accounts.add(Taken(supplied.batch, underway, self.epoch, self.step, total, rate))
        self._accounts.settle(_STEPS_IN_FLIGHT if self.placement.device.type == "cuda" else 0)
        if self._steps_here == WARM_UP:
            self._accounts.settle()
            self._instruments.warm()
        if self.step % self.recipe.checkpoint_every == 0 and not self._at_limit:
            self._save()

    def _end_epoch(self) -> None:
        self._accounts.settle()
        self._accounts.agree()
        read = self.place.num_read
        promised = sum(self.rows.num_batches(epoch) for epoch in range(self.epoch + 1))
        if read != promised and not self._at_limit:
            raise RunFailedError(
                f"plan {self.rows.plan} promised {promised} batches up to epoch {self.epoch} and {read} came: "
                "rows would be missed or repeated. Check the manifest (winnow report) and resume."
            )
        self._accounts.end_epoch()
        self.epoch, self.place = self.epoch + 1, Place(num_read=read)
        if self.finished and self.store is not None:
            weights = self.learner.weights()
            if self.ranks.leads:
                disk.save_model(self.store, weights, self.recipe, self.classes)
        self._save()

    def _save(self) -> None:
        """Every rank's feedback first, then the checkpoint: a crash between the two repeats feedback, it never skips
        any."""
        self._accounts.settle()
        self._accounts.flush()
        self._accounts.agree()
        if self.store is None:
            return
        found = disk.Checkpoint(
            identity=self._identity,
            classes=None if self.classes is None else self.classes.labels,
            epoch=self.epoch,
            step=self.step,
            cursor=self.place.cursor,
            num_read=self.place.num_read,
            row_losses=self._accounts.row_losses(),
            scaler=self.learner.scaler.state_dict(),
            tally=self.tally,
        )
        disk.save(self.store, self.learner, found, self.place, self.ranks, self._behind)


def _alone() -> Ranks:
    """The only process. Raises RequestError under a launcher of several, which join by `ranks.joined`."""
    found = launch()
    if found.world_size > 1:
        raise RequestError(
            f"WORLD_SIZE is {found.world_size}: a launcher started several processes, and each would train a whole "
            "model of its own. Give the Trainer the ranks that `joined` finds, or start one."
        )
    return ALONE

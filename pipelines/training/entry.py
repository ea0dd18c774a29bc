"""A training job of the catalog, run in this process: claim its row, train, report, say how it ended.

    python -m pipelines.training.entry --root ROOT --job trn_…

Knows the catalog and the trainer; nothing of HTTP or of who started it. A job's checkpoint lies under
`<root>/training/<job>/`: killed anywhere, it goes on from there with `--resume`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from curator.catalog import LOCAL_TENANT, Catalog, JobState, TrainingJob
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, RequestError, RetryableError, WinnowError
from curator.settings import Settings
from curator.storage import Store
from pipelines.training.interrupt import until_signalled
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.presets import parse_recipe
from pipelines.training.pull import open_rows
from pipelines.training.report import TrainingReport
from pipelines.training.reported import CatalogFeedback
from pipelines.training.trainer import OnStep, ShouldStop, Trainer

__all__ = ["ENTRIES", "checkpoint_dir", "log_dir", "main", "recipe_of", "run_job"]

ENTRIES: Final = ("text-classifier", "image-classifier", "language-model", "video-classifier")
"""What a job may name as its entry: the kinds of recipe. Nothing else is run, so no job can name code."""

log: Final = logging.getLogger(__name__)


def run_job(
    catalog: Catalog,
    settings: Settings,
    job_id: str,
    *,
    tenant: str = LOCAL_TENANT,
    resume: bool = False,
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
) -> TrainingReport:
    """Trains a managed job from queued to succeeded; its report becomes the row's result.

    Stopped by `should_stop`, the job goes back to the queue with its checkpoint; cancelled meanwhile, it stops within
    `settings.heartbeat_s`. A passing fault puts it back as well; any other error fails it with that error in its row,
    and is raised. `resume` also takes a job that says running: one the caller holds a lease of, or one whose process
    died. Such a job is the caller's to give back: here it only moves to its end. Raises NotFoundError; ConflictError
    for a job that is not waiting, or that the caller trains himself (mode external).
    """
    found = catalog.jobs.get(tenant, job_id)
    ours = found.state != JobState.RUNNING
    job = _claim(catalog, found, resume)
    watch = _Watch(catalog, job, settings.heartbeat_s, should_stop)
    try:
        feedback = CatalogFeedback(catalog, Store.open(settings.root), job)
        report = _trainer(catalog, settings, job, feedback, on_step, watch).run()
    except BaseException as error:
        _failed(catalog, job, error, ours)
        raise
    if report.finished:
        _move(
            catalog, job, JobState.SUCCEEDED, result={**report.model_dump(mode="json"), "feedback": feedback.counts()}
        )
    elif ours and not watch.cancelled:
        _move(catalog, job, JobState.QUEUED)
    return report


def recipe_of(job: TrainingJob, plan: EpochPlan | None) -> TrainingRecipe:
    """The job's recipe; a plan decides epochs, curriculum, batch and seed. Raises RecipeError, RequestError."""
    entry, given = job.spec.get("entry"), job.spec.get("recipe")
    if entry not in ENTRIES:
        raise RequestError(f"job {job.id} names the entry {entry!r}; there are {', '.join(ENTRIES)}")
    recipe = parse_recipe(given or {"preset": entry}, source=f"recipe of {job.id}")
    if recipe.kind != entry:
        raise RequestError(
            f"job {job.id} names the entry {entry!r} and a recipe of kind {recipe.kind!r}; make them agree"
        )
    if plan is None:
        return recipe
    decided = {
        "epochs": plan.num_epochs,
        "curriculum": plan.curriculum,
        "global_batch_size": plan.global_batch_size,
        "seed": plan.seed,
    }
    return type(recipe).model_validate({**recipe.model_dump(), **decided})


def checkpoint_dir(settings: Settings, job_id: str) -> str:
    """Where a job's checkpoint and, once it is done, its weights lie."""
    return f"{settings.root.rstrip('/')}/training/{job_id}"


def log_dir(folder: str) -> str | None:
    """Where a job with that folder logs for TensorBoard; None in an object store, where files do not grow."""
    return None if "://" in folder else f"{folder.rstrip('/')}/tensorboard"


def _claim(catalog: Catalog, job: TrainingJob, resume: bool) -> TrainingJob:
    if job.mode != "managed":
        raise ConflictError(
            f"job {job.id} is external: whoever made it trains it and sends feedback; nothing to run here"
        )
    if resume and job.state == JobState.RUNNING:
        return job
    return catalog.jobs.move(job.tenant, job.id, JobState.RUNNING, from_states={JobState.QUEUED}, version=job.version)


def _trainer(
    catalog: Catalog,
    settings: Settings,
    job: TrainingJob,
    feedback: CatalogFeedback,
    on_step: OnStep | None,
    should_stop: ShouldStop,
) -> Trainer:
    row = None if job.plan is None else catalog.plans.get(job.tenant, job.plan)
    plan = None if row is None else EpochPlan.model_validate(row.plan)
    recipe = recipe_of(job, plan)
    manifest = job.spec["manifest"] if row is None else row.manifest
    folder = checkpoint_dir(settings, job.id)
    return Trainer(
        open_rows(settings.root, manifest, recipe, plan=plan),
        recipe,
        checkpoint_dir=folder,
        log_dir=log_dir(folder),
        training_job=job.id,
        feedback=feedback,
        on_step=on_step,
        should_stop=should_stop,
    )


def _failed(catalog: Catalog, job: TrainingJob, error: BaseException, ours: bool) -> None:
    """Interrupted or out of reach for a moment: back to the queue, if ours to give. Otherwise: failed, and why."""
    log.warning("training job %s stopped: %s", job.id, error)
    if isinstance(error, RetryableError) or not isinstance(error, Exception):
        if ours:
            _move(catalog, job, JobState.QUEUED)
        return
    code = error.code if isinstance(error, WinnowError) else "internal"
    message = str(error) if isinstance(error, WinnowError) else f"{type(error).__name__}: {error}"
    _move(catalog, job, JobState.FAILED, error={"code": code, "message": message})


def _move(catalog: Catalog, job: TrainingJob, to: JobState, **values: Any) -> None:
    """Moves a running job; one cancelled meanwhile stays cancelled."""
    try:
        catalog.jobs.move(job.tenant, job.id, to, from_states={JobState.RUNNING}, **values)
    except ConflictError as error:
        log.warning("training job %s: %s", job.id, error)


class _Watch:
    """`should_stop`: the caller's, or a cancellation seen in the row, looked up at most every `every_s` seconds."""

    def __init__(self, catalog: Catalog, job: TrainingJob, every_s: float, caller: ShouldStop | None):
        self._catalog, self._job, self._every_s, self._caller = catalog, job, every_s, caller
        self._next = time.monotonic()
        self.cancelled = False

    def __call__(self) -> bool:
        if time.monotonic() >= self._next:
            self.cancelled = self._catalog.jobs.get(self._job.tenant, self._job.id).state == JobState.CANCELLED
            self._next = time.monotonic() + self._every_s
        return self.cancelled or (self._caller is not None and self._caller())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one job and prints its report as JSON. 0: done; 2: the request is wrong; 3: failed; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training.entry", description="Runs one training job.")
    parser.add_argument(
        "--root", help="where shards and the job's checkpoint lie (default: WINNOW_ROOT, ./winnow-data)"
    )
    parser.add_argument("--job", required=True, help="the job's id, trn_…")
    parser.add_argument("--tenant", default=LOCAL_TENANT, help="whose job it is")
    parser.add_argument("--resume", action="store_true", help="take over a job whose process died")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_environment(root=options.root)
        with Catalog.open(settings.database_url) as catalog, until_signalled() as should_stop:
            report = run_job(
                catalog, settings, options.job, tenant=options.tenant, resume=options.resume, should_stop=should_stop
            )
    except WinnowError as error:
        print(f"winnow training: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 3
    print(report.model_dump_json())
    return 0 if report.finished else 130


if __name__ == "__main__":
    sys.exit(main())

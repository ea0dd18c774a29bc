"""`winnow train`: one manifest, one recipe, trained in this process or by the ranks of a launcher; on a root, or on a
server's shards.

Knows roots, servers and the trainer; nothing of terminals.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from curator.client.rest import Client
from curator.digest import content_id
from curator.errors import RequestError
from curator.storage import Store
from pipelines.training.checkpoint import read
from pipelines.training.interrupt import until_signalled
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.parallel.ranks import Ranks, joined
from pipelines.training.pull import open_rows
from pipelines.training.recipe import load_training_recipe
from pipelines.training.report import TrainingReport
from pipelines.training.trainer import OnStep, Trainer

__all__ = ["train_command"]


def train_command(
    manifest: str,
    recipe: str | Path | TrainingRecipe,
    *,
    root: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    on_step: OnStep | None = None,
) -> TrainingReport:
    """Trains on a manifest under `root` (default: the settings' root), or on the server at `url`.

    The same manifest and recipe are the same job: stopped by Ctrl-C or SIGTERM (`finished` is false then) or killed,
    the same command goes on from its checkpoint in `out` (default `<root>/training/<job>`; with a server
    `./winnow-training/<job>`). TensorBoard reads `tensorboard` in that folder. The losses go back as feedback of a
    training job of mode external. Under a launcher (`torchrun --nproc-per-node 4 $(which winnow) train …`) every rank
    calls this; where they write is a place they share. Raises RequestError of the fitting kind before anything is
    written; RunFailedError when it can be resumed.
    """
    if root is not None and url is not None:
        raise RequestError("give either a root or a server's url, not both: the manifest is looked for in one place")
    chosen = load_training_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    name = content_id("trn", {"manifest": manifest, "recipe": chosen.digest})
    if url is not None:
        return _on_server(manifest, chosen, name, Client(url, api_key), out, resume, on_step)
    return _on_root(manifest, chosen, name, root, out, resume, on_step)


def _on_root(
    manifest: str,
    recipe: TrainingRecipe,
    name: str,
    root: str | None,
    out: str | os.PathLike[str] | None,
    resume: bool,
    on_step: OnStep | None,
) -> TrainingReport:
    """Everything that can be refused is, before the catalog hears of the job.

    The catalog is loaded here: training on a server's shards does without a database.
    """
    from curator.catalog import LOCAL_TENANT, Catalog, JobState
    from curator.settings import Settings
    from pipelines.training.entry import checkpoint_dir, log_dir
    from pipelines.training.reported import CatalogFeedback

    settings = Settings.from_environment(root=root)
    folder = os.fspath(out or checkpoint_dir(settings, name))
    spec = {"entry": recipe.kind, "manifest": manifest, "recipe": recipe.model_dump(mode="json"), "name": "train"}
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(recipe))
        rows = open_rows(settings.root, manifest, recipe, rank=ranks.rank, world_size=ranks.world_size)
        catalog = stack.enter_context(Catalog.open(settings.database_url))
        should_stop = stack.enter_context(until_signalled())
        trainer = Trainer(
            rows,
            recipe,
            checkpoint_dir=folder,
            log_dir=log_dir(folder),
            training_job=name,
            resume=resume,
            feedback=lambda table: sink(table) if job.state == JobState.RUNNING else None,
            on_step=on_step,
            should_stop=should_stop,
            ranks=ranks,
        )
        job = catalog.jobs.create(LOCAL_TENANT, "external", plan=None, spec=spec, job_id=name)
        sink = CatalogFeedback(catalog, Store.open(settings.root), job)
        report = trainer.run()
        counts = sink.counts()
        told = dict(zip(counts, map(round, ranks.total(*counts.values())), strict=True))
        if report.finished and ranks.leads and job.state == JobState.RUNNING:
            result = {**report.model_dump(mode="json"), "feedback": told}
            catalog.jobs.move(LOCAL_TENANT, name, JobState.SUCCEEDED, result=result)
    return report


def _on_server(
    manifest: str,
    recipe: TrainingRecipe,
    name: str,
    client: Client,
    out: str | os.PathLike[str] | None,
    resume: bool,
    on_step: OnStep | None,
) -> TrainingReport:
    """The server's name of the job is kept in the checkpoint, so that a resumed job is not a second one to it."""
    folder = os.fspath(out or os.path.join("winnow-training", name))
    with client, until_signalled() as should_stop, joined(recipe) as ranks:
        rows = open_rows(client, manifest, recipe, rank=ranks.rank, world_size=ranks.world_size)
        found = read(Store.open(folder)) if resume else None
        job = ranks.same(found[0].identity.training_job if found else _created(client, manifest, ranks))
        trainer = Trainer(
            rows,
            recipe,
            checkpoint_dir=folder,
            log_dir=None if "://" in folder else os.path.join(folder, "tensorboard"),
            training_job=job,
            resume=resume,
            feedback=lambda table: _send(client, job, table),
            on_step=on_step,
            should_stop=should_stop,
            ranks=ranks,
        )
        return trainer.run()


def _created(client: Client, manifest: str, ranks: Ranks) -> str:
    """By the rank that leads; the others hear of it."""
    if not ranks.leads:
        return ""
    return str(client.jobs.create(manifest=manifest, mode="external", name="train")["id"])


def _send(client: Client, job: str, table: pa.Table) -> None:
    client.feedback(job, table)

"""`winnow compress`: one checkpoint, one recipe, one held-out set; a folder of smaller models and a report.

Knows folders, roots, servers and the chain; nothing of terminals. Everything that can be refused is, before anything
is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from curator.client.rest import Client
from curator.client.sources import open_source
from curator.errors import IntegrityError, NotFoundError, RecipeError, RequestError
from curator.shards.reader import ShardReader
from curator.storage import Store
from pipelines.training.checkpoint import TrainedModel, load_model, read
from pipelines.training.compress.chain import Chain, OnCompressed
from pipelines.training.compress.export import require_runtimes
from pipelines.training.compress.held_out import HeldOut, content_digests, digests_of, held_out_table
from pipelines.training.compress.plot import curves, svg
from pipelines.training.compress.prune import require_prunable
from pipelines.training.compress.recipe import CompressRecipe, load_compress_recipe
from pipelines.training.compress.report import CompressReport, marked
from pipelines.training.compress.student import student_recipe
from pipelines.training.kinds import LanguageModel, TrainingRecipe, VideoClassifier
from pipelines.training.model import empty
from pipelines.training.pull import columns_of, open_rows
from pipelines.training.rows import RowStream

__all__ = ["PLOT", "REPORT", "SENSITIVITY", "compress_command"]

REPORT, PLOT, SENSITIVITY = "report.json", "report.svg", "sensitivity.svg"


def compress_command(
    checkpoint: str,
    recipe: str | Path | CompressRecipe,
    held_out: Sequence[str],
    *,
    out: str | os.PathLike[str] | None = None,
    root: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    manifest: str | None = None,
    on_step: OnCompressed | None = None,
) -> CompressReport:
    """Compresses the model in the folder of a finished training job, or of the job `trn_…` under `root`.

    `held_out`: files, or one manifest. `manifest`: of the training rows; by default the one in the job's checkpoint.
    `out`: an empty or new folder, by default `compressed` in the checkpoint's. Raises RequestError of the fitting kind
    before anything is written; IntegrityError where an export does not compute what the model does.
    """
    began = time.monotonic()
    chosen = load_compress_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    source, folder = _places(checkpoint, root, url, api_key)
    require_runtimes(chosen.export)
    trained = _trained(folder)
    _require_possible(chosen, trained)
    target = _empty(Store.open(os.fspath(out or f"{folder.rstrip('/')}/compressed")))
    learned = _Learned(source, manifest or _manifest_of(folder), trained)
    if chosen.learns and learned.manifest is None:
        raise RequestError(
            f"distilling and pruning need training rows, and {folder} does not say which it had: give --manifest, or a "
            "recipe that only quantises and exports"
        )
    rows = _held_out(trained, chosen, held_out, source, learned)
    size = Store.open(folder).size("model.safetensors")
    chain = Chain(trained, size, rows, on_step)
    if chosen.distil is not None:
        chain.distil(chosen.distil, learned.open, chosen.seed)
    if chosen.prune is not None:
        chain.prune(chosen.prune, learned.open, chosen.seed)
    if chosen.quantise is not None:
        chain.quantise(chosen.quantise, learned.open)
    chain.export(chosen, target)
    report = CompressReport(
        checkpoint=folder,
        recipe=chosen.digest,
        kind=trained.recipe.kind,
        out=target.uri,
        num_held_out=rows.num_rows,
        num_trained_on=rows.num_trained_on,
        steps=marked(chain.steps),
        times_smaller=size / len(chain.best.file),
        accuracy_kept=chain.measured.accuracy / chain.steps[0].accuracy if chain.steps[0].accuracy else 0.0,
        seconds=time.monotonic() - began,
    )
    target.write_bytes(PLOT, svg(report.steps).encode())
    if chain.costs:
        target.write_bytes(SENSITIVITY, curves(chain.costs).encode())
    target.write_bytes(REPORT, report.model_dump_json(indent=1).encode())
    return report


def _places(checkpoint: str, root: str | None, url: str | None, api_key: str | None) -> tuple[Any, str]:
    """(where manifests are looked up, the checkpoint's folder)."""
    from curator.settings import Settings

    if root is not None and url is not None:
        raise RequestError("give either a root or a server's url, not both: manifests are looked for in one place")
    base = Settings.from_environment(root=root).root
    is_name = checkpoint.startswith("trn_") and "/" not in checkpoint and not os.path.isdir(checkpoint)
    folder = f"{base.rstrip('/')}/training/{checkpoint}" if is_name else checkpoint
    return (base if url is None else Client(url, api_key)), folder


def _trained(folder: str) -> TrainedModel:
    """The finished model. Raises RequestError for one that cannot be read, or is of a kind that is not compressed."""
    try:
        trained = load_model(folder)
    except (IntegrityError, ValidationError, KeyError, ValueError) as error:
        raise RequestError(
            f"the model in {folder} cannot be compressed: {error}. Give the folder of a job that this version of "
            "`winnow train` finished"
        ) from error
    if isinstance(trained.recipe, (LanguageModel, VideoClassifier)) or trained.classes is None:
        raise RequestError(
            f"the model in {folder} is a {trained.recipe.kind}; text-classifier and image-classifier are compressed"
        )
    broken = [name for name, tensor in trained.model.state_dict().items() if not tensor.isfinite().all()]
    if broken:
        raise RequestError(f"the weights {broken[0]} in {folder} hold values that are not numbers; train again")
    return trained


def _require_possible(recipe: CompressRecipe, trained: TrainedModel) -> None:
    """Raises RecipeError for a student or a pruning that this model cannot have."""
    model, own = trained.model, trained.recipe
    if recipe.distil is not None:
        own = student_recipe(own, recipe.distil, recipe.seed)
        model = empty(own, len(trained.classes or ()))
    if recipe.prune is not None:
        require_prunable(model, recipe.prune)


def _manifest_of(folder: str) -> str | None:
    """What the job was trained on; None where its checkpoint is gone or it learned from a table."""
    try:
        found = read(Store.open(folder))
    except IntegrityError as error:
        raise RequestError(f"{error}; or move the checkpoint away and give --manifest") from error
    manifest = "" if found is None else found[0].identity.manifest
    return manifest if manifest.startswith("man_") else None


def _empty(store: Store) -> Store:
    if store.is_local and os.path.exists(store.base) and not os.path.isdir(store.base):
        raise RequestError(f"--out {store.uri} is a file; give a folder")
    store.require_writable()
    if store.list():
        raise RequestError(f"--out {store.uri} is not empty; give a new folder with --out")
    return store


class _Learned:
    """The rows the model was trained on, where they can be found."""

    def __init__(self, source: Any, manifest: str | None, trained: TrainedModel):
        self.source, self.manifest, self.trained = source, manifest, trained

    def open(self, recipe: TrainingRecipe) -> RowStream:
        """In the order of the recipe's plan."""
        assert self.manifest is not None, "asked for before"
        return open_rows(self.source, self.manifest, recipe)

    def digests(self) -> set[bytes]:
        """Their contents; none where nobody knows what was trained on."""
        if self.manifest is None:
            return set()
        source, column = open_source(self.source), columns_of(self.trained.recipe)[0]
        try:
            found = source.manifest(self.manifest)
        except NotFoundError as error:
            raise NotFoundError(
                f"{error}: the model was trained on it, and held-out rows that it has seen prove nothing. Give its "
                "--root or --url, or --manifest for a copy"
            ) from error
        has = [one.name for one in found.columns]
        if column not in has:
            raise RecipeError(
                f"{self.manifest} has no column {column!r}, which the model reads; it has {', '.join(has)}"
            )
        return content_digests(batch.column(0) for batch in ShardReader(source).iter_batches(found, columns=[column]))


def _held_out(
    trained: TrainedModel, recipe: CompressRecipe, held_out: Sequence[str], source: Any, learned: _Learned
) -> HeldOut:
    table = held_out_table(held_out, recipe.held_out, trained.recipe, source, learned.manifest)
    seen, content = learned.digests(), table.column(columns_of(trained.recipe)[0])
    fresh = np.array([digest not in seen for chunk in content.chunks for digest in digests_of(chunk)], dtype=bool)
    if not fresh.any():
        raise RequestError(
            f"all {len(fresh)} held-out rows are among those that the model was trained on: they would prove nothing. "
            "Give rows that were kept apart"
        )
    return HeldOut.of(trained, table.filter(pa.array(fresh)), int((~fresh).sum()))

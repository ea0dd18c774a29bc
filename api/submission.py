"""From "this dataset, that recipe" to a run request, and what was asked for in the caller's own words.

Knows datasets, uploads and recipes; nothing of HTTP. The words are kept beside the run (`submission.json`), as the
request itself holds the resolved recipe and the server's own paths.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from api.intake import here, readable_folders
from api.service import Service
from curator.catalog import Catalog, Dataset, DatasetVersion, Run
from curator.errors import ConflictError, NotFoundError, RecipeError, TrustedError
from curator.feedback import write_snapshot
from curator.recipe import Recipe, fitted, load, parse, preset_names, require_learner
from curator.run import RunRequest, RunState
from curator.storage import Store
from curator.tracing import traceparent
from pipelines.lineage import require_earlier

__all__ = ["Submission", "ready_version", "resolved", "submission_of", "submit"]


class Submission(BaseModel):
    """What a caller asked for. `recipe`: a preset's name or a kept recipe's id, null for one that was sent whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    dataset_name: str
    dataset_version: int
    trusted: str | None
    feedback: tuple[str, ...]
    recipe: str | None
    by: str


def submit(
    service: Service,
    tenant: str,
    run_id: str,
    *,
    dataset: str,
    dataset_version: int | None,
    recipe: str | dict[str, Any],
    trusted: str | None,
    feedback: Sequence[str],
    engine: Literal["inline", "ray"],
    seed: int | None,
    priority: int = 0,
    by: str,
) -> Run:
    """Queues a run of the version asked for, else of the newest that is ready; `feedback` names training jobs whose
    losses the policy is to see, as they stand now.

    Raises NotFoundError, ConflictError for a dataset that was rejected or whose upload was deleted, RecipeError,
    TrustedError, RequestError for jobs that have reported nothing.
    """
    found = service.catalog.datasets.get(tenant, dataset)
    version = _chosen(service.catalog, tenant, dataset, dataset_version)
    if version.error is not None:
        told = f"version {version.number} of dataset {dataset} was rejected: {version.error['message']}"
        raise ConflictError(f"{told}; register a corrected one")
    chosen = resolved(service, tenant, recipe, found.columns, seed)
    if version.columns is not None:
        fitted(chosen, list(version.columns))  # what the runner would find out, said while the caller is listening
    _require_earlier(service, tenant, chosen)
    inputs = here(version)
    service.uploads.require_there(tenant, inputs)
    request = RunRequest(
        inputs=inputs,
        recipe=chosen.model_dump(mode="json"),
        trusted=None if trusted is None else _trusted(service, tenant, trusted),
        feedback=_losses(service, tenant, chosen, feedback) if feedback else None,
        within=readable_folders(service.settings),
        engine=engine,
        dataset=dataset,
        traceparent=traceparent(),
    )
    words = Submission(
        dataset=dataset,
        dataset_name=found.name,
        dataset_version=version.number,
        trusted=trusted,
        feedback=tuple(feedback),
        recipe=recipe if isinstance(recipe, str) else None,
        by=by,
    )
    service.store.write_bytes(_name(run_id), words.model_dump_json(indent=1).encode())
    return service.catalog.runs.create(tenant, request, priority=priority, run_id=run_id, against=chosen.against)


def ready_version(catalog: Catalog, tenant: str, dataset: str) -> tuple[Dataset, DatasetVersion]:
    """A dataset and its newest version that was read and found good. Raises NotFoundError, ConflictError."""
    version = catalog.datasets.usable_version(tenant, dataset)
    if version.state != "ready":
        raise ConflictError(f"dataset {dataset} is {version.state}; its rows can be used once it is ready")
    return catalog.datasets.get(tenant, dataset), version


def _chosen(catalog: Catalog, tenant: str, dataset: str, number: int | None) -> DatasetVersion:
    if number is None:
        return catalog.datasets.usable_version(tenant, dataset)
    return catalog.datasets.version(tenant, dataset, number)


def resolved(
    service: Service, tenant: str, recipe: str | dict[str, Any], columns: dict[str, str], seed: int | None
) -> Recipe:
    """A preset, a kept recipe (`rcp_…`) or a whole one. The dataset's `columns` (role → name) fill in what a whole
    recipe or a preset does not say of its own; a kept one is what its id says. Names are never looked up as files.
    Raises RecipeError, also for files and encoders that a server does not open; NotFoundError for an id that is not the
    tenant's."""
    if isinstance(recipe, str) and recipe.startswith("rcp_"):
        value = service.catalog.recipes.get(tenant, recipe).recipe
    elif isinstance(recipe, str):
        if recipe not in preset_names():
            near = difflib.get_close_matches(recipe, preset_names(), 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RecipeError(
                f"no preset {recipe!r}; {hint}there are {', '.join(preset_names())}. Or give the id of a kept "
                "recipe (rcp_…), or a recipe as an object."
            )
        value = load(recipe).model_dump(mode="json")
        value["columns"] = {**value["columns"], **columns}
    else:
        own = recipe.get("columns", {})
        value = {**recipe, "columns": {**columns, **own} if isinstance(own, dict) else own}
    chosen = parse(value if seed is None else {**value, "seed": seed})
    reading = [op.kind for op in chosen.process if getattr(op, "files", ())]
    if reading:
        raise RecipeError(
            f"process: {', '.join(reading)} names files, and a server reads none that a recipe names; curate with it "
            "on the command line (winnow curate), or leave it out"
        )
    _require_known_encoders(chosen, service.settings.encoders)
    return chosen


def _require_known_encoders(recipe: Recipe, known: Sequence[str]) -> None:
    """A name is a path or a model of a hub to whoever loads it: whoever runs the server says which may be loaded."""
    for modality, name in recipe.encoder.model_dump().items():
        if name not in ("builtin", *known):
            raise RecipeError(
                f"encoder.{modality}: this server does not load {name!r}; take {', '.join(('builtin', *known))} "
                "(WINNOW_ENCODERS), or curate with it on the command line (winnow curate)"
            )


def submission_of(store: Store, run_id: str) -> Submission | None:
    """What was asked for; None for a run made without a server, or in words of another version."""
    return _read(store, run_id)


@lru_cache(maxsize=4096)
def _read(store: Store, run_id: str) -> Submission | None:
    try:
        return Submission.model_validate_json(store.read_bytes(_name(run_id)))
    except (NotFoundError, ValidationError):
        return None


def _name(run_id: str) -> str:
    return f"runs/{run_id}/submission.json"


def _require_earlier(service: Service, tenant: str, recipe: Recipe) -> None:
    """The run that the recipe goes on from is the tenant's own and has ended well. Raises NotFoundError, ConflictError
    or RecipeError."""
    if recipe.against is None:
        return
    state = service.catalog.runs.get(tenant, recipe.against).state
    if state != RunState.SUCCEEDED:
        raise ConflictError(f"against: run {recipe.against} is {state}; wait until it has succeeded, or name another")
    require_earlier(str(service.settings.root), recipe)


def _trusted(service: Service, tenant: str, named: str) -> str:
    """The trusted sample's file: an upload, or a dataset of one file."""
    if named.startswith("upl_"):
        return service.uploads.path(tenant, named)
    if not named.startswith("ds_"):
        raise TrustedError(f"trusted is {named!r}; give an upload (upl_…) or a dataset (ds_…)")
    version = service.catalog.datasets.usable_version(tenant, named)
    if len(here(version)) != 1:
        raise TrustedError(f"dataset {named} has {len(version.inputs)} inputs; a trusted sample is one file")
    service.uploads.require_there(tenant, version.inputs)
    return version.inputs[0]


def _losses(service: Service, tenant: str, recipe: Recipe, jobs: Sequence[str]) -> str:
    """What the jobs have reported so far, as one file; a later report changes nothing of this run."""
    require_learner(recipe)
    return write_snapshot(service.store, service.catalog.feedback.counted(tenant, list(jobs)))

"""`winnow curate`: one run on a root, without a server. Submits, claims and walks the run in this process.

Knows the catalog and `execute`; nothing of terminals.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from curator.catalog import LOCAL_TENANT, Catalog, ClaimedRun
from curator.errors import NotFoundError, RequestError, RetryableError, RunFailedError
from curator.feedback import write_snapshot
from curator.recipe import Recipe, require_learner
from curator.run import Progress, RunRequest, RunSummary
from curator.settings import Settings
from curator.storage import Store
from pipelines.execute import check, execute
from pipelines.here import run_here
from pipelines.registering import shelving

__all__ = ["curate_here", "request_of"]


def request_of(
    inputs: Sequence[str], recipe: Recipe, trusted: str | None, engine: Literal["inline", "ray"], seed: int | None
) -> RunRequest:
    """A run request with absolute input paths; `seed` overrides the recipe's."""
    chosen = recipe if seed is None else recipe.model_copy(update={"seed": seed})
    return RunRequest(
        inputs=tuple(_absolute(item) for item in inputs),
        recipe=chosen.model_dump(mode="json"),
        trusted=None if trusted is None else _absolute(trusted),
        engine=engine,
    )


def curate_here(
    inputs: Sequence[str],
    recipe: Recipe | None,
    trusted: str | None,
    out: str,
    *,
    engine: Literal["inline", "ray"] = "inline",
    seed: int | None = None,
    resume: str | None = None,
    feedback: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Curates inputs into the root `out`, or goes on with a run that stopped (`resume`: its id, or "last").

    feedback: training jobs of this root; the learned policy sees the mean loss they reported of each row.

    Raises RequestError of the fitting kind before anything is written; RunFailedError when the run can be resumed, with
    a note of how once there is a run.
    """
    settings = Settings.from_environment(root=out)
    if resume is not None:
        with _catalog_of(settings, "resume") as catalog, _going_on(out) as claims:
            work = shelving(catalog, partial(execute, on_progress=on_progress))
            return run_here(catalog, settings, work, resume=resume, on_claimed=claims.append)
    if recipe is None or not inputs:
        raise RequestError("curate needs inputs and a recipe, or --resume RUN to go on with a run that stopped")
    request = request_of(inputs, recipe, trusted, engine, seed)
    if feedback:
        require_learner(recipe)
        request = request.model_copy(update={"feedback": _snapshot(settings, feedback)})
    checked = check(request, str(settings.root))
    Store.open(out).require_writable()
    with Catalog.open(settings.database_url) as catalog, _going_on(out) as claims:
        work = shelving(catalog, partial(execute, checked=checked, on_progress=on_progress))
        return run_here(catalog, settings, work, request=request, on_claimed=claims.append)


def _catalog_of(settings: Settings, wanted: str) -> Catalog:
    """The catalog of a root that has one. Raises NotFoundError, having written nothing."""
    try:
        return Catalog.open(settings.database_url, create=False)
    except NotFoundError as error:
        raise NotFoundError(
            f"nothing was ever curated in {settings.root}, so there is nothing to {wanted}: {error}. Give --out "
            "the root of the earlier work"
        ) from error


@contextmanager
def _going_on(out: str) -> Iterator[list[ClaimedRun]]:
    """A list for the run that was claimed; a failure after that carries a note of how to go on with it."""
    claims: list[ClaimedRun] = []
    try:
        yield claims
    except (RunFailedError, RetryableError) as error:
        for claimed in claims:
            again = shlex.join(["winnow", "curate", "--resume", claimed.id, "--out", out])
            error.add_note(f"what was committed stays; resume the run with `{again}`")
        raise


def _snapshot(settings: Settings, jobs: Sequence[str]) -> str:
    """What the jobs reported, as one file under the root. Raises NotFoundError, RequestError."""
    with _catalog_of(settings, "learn from") as catalog:
        return write_snapshot(Store.open(settings.root), catalog.feedback.counted(LOCAL_TENANT, jobs))


def _absolute(item: str) -> str:
    return item if "://" in item else str(Path(item).absolute())

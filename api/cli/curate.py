"""`winnow curate`: one run without a server.

Knows options and how results are told; the work is `pipelines.runs.curate_here`.
"""

from __future__ import annotations

import json
import os
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.exits import exit_codes
from api.cli.options import DEFAULT_ROOT, PRESETS, RECIPE, AsJson
from api.cli.progress import progress_shown
from curator.errors import RequestError

if TYPE_CHECKING:
    from curator.run import RunSummary

__all__ = ["EngineName", "curate", "follow_up", "told", "warn"]


class EngineName(StrEnum):
    INLINE = "inline"
    RAY = "ray"


@exit_codes
def curate(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Files, globs, folders or object-store URLs.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=RECIPE)] = None,
    trusted: Annotated[str | None, typer.Option(metavar="FILE", help="The trusted sample.")] = None,
    out: Annotated[
        str, typer.Option(metavar="ROOT", envvar="WINNOW_ROOT", help="Where runs, shards and manifests go.")
    ] = "./winnow-data",
    engine: Annotated[EngineName, typer.Option(help="This process, or a Ray cluster.")] = EngineName.INLINE,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the recipe's.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN|last", help="Go on with a run that stopped.")] = None,
    feedback: Annotated[
        list[str] | None, typer.Option(metavar="JOB", help="A training job whose losses the policy learns from.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Curate a dataset: score, judge, and write shards, ledger and manifest."""
    _one_wish(inputs, recipe, resume, trusted=trusted, seed=seed, feedback=feedback)
    from curator.recipe import load
    from pipelines.runs import curate_here

    chosen = None if recipe is None else load(recipe)
    with progress_shown() as on_progress:
        summary = curate_here(
            inputs or [],
            chosen,
            trusted,
            out,
            engine=engine.value,
            seed=seed,
            resume=resume,
            feedback=feedback or (),
            on_progress=on_progress,
        )
    warn(summary)
    typer.echo(json.dumps(summary.model_dump(mode="json")) if as_json else told(summary, root=out))


def _one_wish(inputs: list[str] | None, recipe: str | None, resume: str | None, **others: object) -> None:
    """A new run needs inputs and a recipe; a resumed one has its own and takes none."""
    if resume is None:
        if not inputs:
            raise RequestError("no inputs; name files, globs or folders to curate, or --resume RUN")
        if recipe is None:
            raise RequestError(f"no recipe; give --recipe with a preset ({', '.join(PRESETS)}) or a file")
        return
    given = [f"--{name}" for name, value in others.items() if value is not None]
    given = ["inputs"] * bool(inputs) + ["--recipe"] * (recipe is not None) + given
    if given:
        raise RequestError(f"a resumed run keeps what it was started with; leave out {', '.join(given)}")


def warn(summary: RunSummary) -> None:
    """What a person must not overlook, on stderr."""
    for warning in summary.warnings:
        typer.secho(f"WARNING: {warning}", err=True, bold=True, fg="yellow")
    if summary.kept == 0 and not summary.warnings:
        typer.secho(f"WARNING: not one of {summary.rows_in} rows was kept", err=True, bold=True, fg="yellow")


def follow_up(*words: str, root: str | None = None, url: str | None = None) -> str:
    """A command that works when it is pasted: with the place it is about, unless that is what it would find anyway."""
    found_anyway = root == DEFAULT_ROOT and not any(map(os.environ.get, ("WINNOW_ROOT", "WINNOW_URL")))
    place = ["--url", url] if url else [] if root is None or found_anyway else ["--root", root]
    return shlex.join(["winnow", *words, *place])


def told(summary: RunSummary, *, root: str | None = None, url: str | None = None) -> str:
    """The summary as lines, and how to go on at the root or the server it is of."""
    share = summary.kept / summary.rows_in if summary.rows_in else 0.0
    lines = [
        f"run       {summary.run}",
        f"manifest  {summary.manifest}",
        f"ledger    {summary.ledger}",
        f"rows      {summary.rows_in} in, {summary.kept} kept ({share:.1%}), {summary.dropped} dropped, "
        f"{summary.relabeled} relabeled",
        *(f"  {count:>10}  {reason}" for reason, count in summary.reasons.items()),
        "difficulty  " + ", ".join(f"{count} {name}" for name, count in summary.difficulty.items()),
        f"policy    {summary.policy}",
        f"seconds   {summary.seconds:.1f}",
        f"why each row: {follow_up('report', summary.run, root=root, url=url)}",
    ]
    return "\n".join(lines)

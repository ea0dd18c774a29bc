"""`winnow train`: a model trained on a manifest's shards, its losses reported back.

Knows options and how steps are shown; training is `pipelines.training`'s, loaded when the command runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.exits import exit_codes
from api.cli.options import ApiKey, AsJson, Root, Url

if TYPE_CHECKING:
    from pipelines.training.report import StepRecord

__all__ = ["train"]


@exit_codes
def train(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="The manifest to train on.")],
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE", help="A training recipe: a preset's name or a file.")],
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Where checkpoints go.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever checkpoint is there.")] = False,
    as_json: AsJson = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Train on curated shards. Stopped or killed, the same command goes on from its checkpoint."""
    from pipelines.training.command import train_command

    report = train_command(
        manifest,
        recipe,
        root=root,
        url=url,
        api_key=api_key,
        out=out,
        resume=not fresh,
        on_step=None if as_json else _Lines(),
    )
    if as_json:
        typer.echo(report.model_dump_json())
        return
    words = "done" if report.finished else "stopped; the same command goes on from here"
    typer.echo(f"{words}: {report.steps} of {report.total_steps} steps, {report.epochs} whole epochs")
    typer.echo("mean loss of each epoch: " + " ".join(f"{loss:.4f}" for loss in report.losses))


class _Lines:
    """A line for every twentieth of the steps, on stderr."""

    def __call__(self, record: StepRecord) -> None:
        every = max(record.total_steps // 20, 1)
        if record.step % every == 0 or record.step == record.total_steps:
            line = f"epoch {record.epoch} step {record.step}/{record.total_steps}: loss {record.loss:.4f}"
            print(line, file=sys.stderr, flush=True)

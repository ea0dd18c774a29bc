"""`winnow train`: a model trained on a manifest's shards, its losses reported back.

Knows options and how steps are shown; training is `pipelines.training`'s, loaded when the command runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.cli.exits import exit_codes
from api.cli.options import RECIPE, ApiKey, AsJson, Root, Url
from api.cli.pull import ManifestArgument

if TYPE_CHECKING:
    from pipelines.training.report import StepRecord, TrainingReport

__all__ = ["TRAINING_PRESETS", "lost", "train"]


TRAINING_PRESETS: Final = (
    "digits", "image-classifier", "language-model", "language-model-85m", "small-language-model",
    "small-text-classifier", "text-classifier", "video-classifier",
)  # fmt: skip
"""Named here so that help needs no training code; a test holds them against those shipped."""


@exit_codes
def train(
    manifest: ManifestArgument,
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE", help=RECIPE)],
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Where checkpoints go.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever checkpoint is there.")] = False,
    as_json: AsJson = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Train on curated shards. Stopped or killed, the same command goes on from its checkpoint."""
    from pipelines.training.command import train_command
    from pipelines.training.recipe import load_training_recipe

    chosen = load_training_recipe(recipe)
    report = train_command(
        manifest,
        chosen,
        root=root,
        url=url,
        api_key=api_key,
        out=out,
        resume=not fresh,
        on_step=None if as_json else _Lines(),
    )
    if report.rank:
        return  # one rank of several speaks
    if as_json:
        typer.echo(report.model_dump_json())
        return
    words = "done" if report.finished else "stopped; the same command goes on from here"
    typer.echo(f"{words}: {report.steps} of {report.total_steps} steps, {report.epochs} whole epochs")
    typer.echo("mean loss of each epoch: " + " ".join(f"{loss:.4f}" for loss in report.losses))
    for line in lost(report):
        typer.echo(line)


def lost(report: TrainingReport) -> list[str]:
    """What rows lost on their way into the model, a line for each kind of loss there was; the report counts a row once
    for every epoch."""
    read = f"of {report.num_samples} rows read"
    told = {
        f"truncated: {report.num_truncated} {read} were cut to the context, "
        f"{report.bytes_truncated} bytes of text left out": report.num_truncated,
        f"resized: {report.num_resized} {read} had images of another size": report.num_resized,
        f"nothing learned: {report.num_without_target} {read} have all their text beyond the context": (
            report.num_without_target
        ),
        f"skipped: {report.num_skipped_steps} steps overflowed float16 and changed nothing": report.num_skipped_steps,
    }
    return [line for line, count in told.items() if count]


class _Lines:
    """A line for every twentieth of the steps, on stderr."""

    def __call__(self, record: StepRecord) -> None:
        every = max(record.total_steps // 20, 1)
        if record.step % every == 0 or record.step == record.total_steps:
            line = f"epoch {record.epoch} step {record.step}/{record.total_steps}: loss {record.loss:.4f}"
            print(line, file=sys.stderr, flush=True)

"""`winnow compress`: a trained model made smaller and faster, its accuracy shown after each step.

Knows options and how steps are shown; compressing is `pipelines.training.compress`', loaded when the command runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.cli.exits import exit_codes
from api.cli.options import RECIPE, ApiKey, AsJson, Root, Url

if TYPE_CHECKING:
    from pipelines.training.compress.report import Step

__all__ = ["COMPRESS_PRESETS", "compress"]

COMPRESS_PRESETS: Final = ("half-width", "half-width-half-depth", "quantise", "small-image", "small-text")
"""Named here so that help needs no training code; a test holds them against those shipped."""


@exit_codes
def compress(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="The folder of a finished training job, or its name, trn_….")
    ],
    held_out: Annotated[
        list[str],
        typer.Option(metavar="FILE|MANIFEST", help="Rows the model was not trained on; again for more files."),
    ],
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE", help=RECIPE)] = "quantise",
    out: Annotated[str | None, typer.Option(metavar="DIR", help="A new folder. [CHECKPOINT/compressed]")] = None,
    manifest: Annotated[
        str | None, typer.Option(metavar="MANIFEST", help="The training rows. [those of the job]")
    ] = None,
    as_json: AsJson = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Distil, prune, quantise and export a trained model; a step that costs too much accuracy is taken back."""
    from pipelines.training.compress.command import compress_command
    from pipelines.training.compress.recipe import load_compress_recipe
    from pipelines.training.compress.report import table

    report = compress_command(
        checkpoint,
        load_compress_recipe(recipe),
        held_out,
        out=out,
        root=root,
        url=url,
        api_key=api_key,
        manifest=manifest,
        on_step=None if as_json else _told,
    )
    if as_json:
        typer.echo(report.model_dump_json())
        return
    for line in table(report):
        typer.echo(line)


def _told(step: Step) -> None:
    print(f"{step.name}: {step.why}", file=sys.stderr, flush=True)

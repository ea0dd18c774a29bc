"""The `winnow` application: which commands there are.

Knows their names and order; what a command needs is imported when it runs.
"""

from __future__ import annotations

from typing import Final

import typer

from api.cli.compress import COMPRESS_PRESETS, compress
from api.cli.curate import curate
from api.cli.decisions import decisions, what_if
from api.cli.options import PRESETS, listed
from api.cli.pull import export, pull
from api.cli.remote import runs, shards, submit, watch
from api.cli.report import report
from api.cli.serve import serve
from api.cli.tenant import purge, tenant
from api.cli.train import TRAINING_PRESETS, train

__all__ = ["app"]

_RECIPES: Final = listed("Recipes that come with Winnow:", PRESETS)

app = typer.Typer(
    name="winnow",
    help="Turn a raw training set into a better one, and prove it: a reason for every row kept, dropped or relabelled.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(serve)
app.command(epilog=_RECIPES)(curate)
app.command()(decisions)
app.command("what-if")(what_if)
app.command()(pull)
app.command()(export)
app.command()(report)
app.command(epilog=listed("Training recipes that come with Winnow:", TRAINING_PRESETS))(train)
app.command(epilog=listed("Compression recipes that come with Winnow:", COMPRESS_PRESETS))(compress)
app.command(epilog=_RECIPES)(submit)
app.command()(watch)
app.command()(runs)
app.command()(shards)
app.command()(tenant)
app.command()(purge)

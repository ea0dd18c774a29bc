"""The list of commands, and that asking for help costs nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from api.cli.options import PRESETS

COMMANDS = (
    "serve", "curate", "decisions", "what-if", "pull", "export", "report", "train", "compress", "submit", "watch",
    "runs", "shards",
)  # fmt: skip


def test_help_names_every_command(winnow: Callable[..., Result]) -> None:
    told = winnow("--help")
    assert told.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in told.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_for_every_option(winnow: Callable[..., Result], name: str) -> None:
    told = winnow(name, "--help")
    assert told.exit_code == 0
    assert "Usage: " in told.stdout


@pytest.mark.parametrize("name", ["curate", "submit"])
def test_help_lists_the_shipped_recipes(winnow: Callable[..., Result], name: str) -> None:
    from curator.recipe import preset_names

    assert preset_names() == PRESETS
    told = winnow(name, "--help").stdout
    assert [preset for preset in PRESETS if f"    {preset}" not in told.splitlines()] == []


def test_unknown_commands_and_options_are_wrong_requests(winnow: Callable[..., Result]) -> None:
    assert winnow("curat").exit_code == 2
    assert winnow("report", "last", "--htm").exit_code == 2


def test_help_loads_no_library_that_takes_time() -> None:
    code = (
        "import sys; sys.argv = ['winnow', '--help']\n"
        "import api.cli\n"
        "try: api.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = ('pyarrow', 'numpy', 'torch', 'ray', 'numba', 'fastapi', 'sqlalchemy', 'httpx', 'yaml')\n"
        "sys.stderr.write(' '.join(name for name in heavy if name in sys.modules))\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr == ""

"""The command line, `winnow`: one file per family of commands.

Knows nothing heavy until a command runs: `winnow --help` answers at once.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The console entry point."""
    from api.cli.app import app

    app()

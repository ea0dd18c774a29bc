"""Migrations of the catalog, shipped with the package and applied when a catalog is opened.

Knows nothing of what the tables are for. Add the next one under `versions/`, then raise `HEAD` in `database.py`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from curator.errors import RequestError

__all__ = ["config", "run_migrations"]


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration for this folder; no ini file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.attributes["connection"] = connection
    return made


def run_migrations(connection: sa.Connection, target: str) -> None:
    """Moves the database up (or down) to `target` inside the caller's transaction.

    Raises RequestError when the database stands at a revision this program does not know.
    """
    settings = config(connection)
    try:
        move = command.downgrade if target in ("base", *_below(connection, settings)) else command.upgrade
        move(settings, target)
    except (CommandError, RevisionError) as error:
        raise RequestError(
            f"the catalog's tables cannot be brought to {target!r} ({error}); a newer Winnow has probably written "
            "this database. Use that version; nothing was changed"
        ) from error


def _below(connection: sa.Connection, settings: Config) -> set[str]:
    """The revisions the database has left behind. Raises RevisionError when it stands at an unknown one."""
    present = MigrationContext.configure(connection).get_current_revision()
    if present is None:
        return set()
    passed = ScriptDirectory.from_config(settings).iterate_revisions(present, "base")
    return {script.revision for script in passed} - {present}

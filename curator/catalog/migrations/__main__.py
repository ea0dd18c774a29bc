"""`python -m curator.catalog.migrations [REVISION]`: brings the catalog's tables to a revision, an older one too.

For going back to an older Winnow, which refuses tables that are newer than itself. Every later start of this version
brings them to the newest again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from alembic.script import ScriptDirectory

from curator.catalog.database import Database
from curator.catalog.migrations import config
from curator.errors import RequestError, WinnowError
from curator.settings import Settings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 for a wrong request, 3 for a fault; nothing is changed then."""
    known = sorted(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())
    parser = argparse.ArgumentParser(
        prog="python -m curator.catalog.migrations",
        description="Brings the catalog's tables to a revision. Back it up first: what older tables have no place for "
        "is lost.",
    )
    parser.add_argument("revision", nargs="?", choices=[*known, "head"], help="default: where it stands, unchanged")
    parser.add_argument("--root", help="where the catalog lies, unless WINNOW_DATABASE_URL says (default: WINNOW_ROOT)")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment(root=options.root)
        database = Database.open(settings.database_url, migrate=False, create=False)
        before = database.revision()
        if options.revision is not None:
            database.migrate(options.revision)
        after = database.revision()
        database.close()
    except WinnowError as error:
        print(f"migrations: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 3
    print(f"the catalog stands at {after}" if before == after else f"the catalog went from {before} to {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`winnow tenant`: another tenant on this root, and a key for its first administrator.

Knows options; the catalog keeps tenants. It is for whoever runs the server: it needs the database, not a key.
"""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.exits import exit_codes
from api.cli.options import Root

__all__ = ["tenant"]


@exit_codes
def tenant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, as an issuer's tokens spell it.")],
    root: Root = None,
) -> None:
    """Make a tenant, or another administrator's key for one; the key is shown once."""
    from curator.catalog import Catalog, Scope
    from curator.settings import Settings

    settings = Settings.from_environment(root=root)
    with Catalog.open(settings.database_url) as catalog:
        made = catalog.keys.tenant(name)
        _, secret = catalog.keys.create(made.id, "administrator, from the command line", [Scope.ADMIN])
    print(f"Tenant {made.name} ({made.id}). Admin key, shown this once: {secret}")

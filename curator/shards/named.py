"""Names of manifests under a root: an id stands for itself, an alias for what it points at now.

Knows where a root keeps its catalog; what aliases are and who moves them is the catalog's. A server resolves names by
itself.
"""

from __future__ import annotations

import os
from typing import Final

import pyarrow.fs as pafs

from curator.errors import NotFoundError, RequestError
from curator.storage import Store

__all__ = ["manifest_named"]

LATEST: Final = "latest"


def manifest_named(store: Store, name: str) -> str:
    """The id of a manifest under a root, by its id or an alias (`prod`, `latest`, `latest@<dataset>`).

    A root without a catalog, as runs without a server leave it, knows `latest`: the manifest written last. Raises
    NotFoundError, and RequestError where the catalog cannot be read here.
    """
    if name.startswith("man_"):
        return name
    url = _catalog_of(store)
    if url is not None:
        return _resolved(url, name)
    if name == LATEST:
        return _written_last(store)
    raise NotFoundError(
        f"{store.uri} has no catalog, so it knows no alias {name!r} but {LATEST!r}; name a manifest by its id (man_…), "
        "or set WINNOW_DATABASE_URL"
    )


def _catalog_of(store: Store) -> str | None:
    """The URL of the root's catalog, if there is one."""
    if not store.is_local:
        return os.environ.get("WINNOW_DATABASE_URL")
    from curator.settings import Settings

    url = Settings.from_environment(root=store.base).database_url
    own = os.path.join(store.base, "winnow.db")
    return None if url.endswith(own) and not os.path.isfile(own) else url


def _resolved(url: str, name: str) -> str:
    try:
        from curator.catalog import LOCAL_TENANT
        from curator.catalog.aliases import Aliases
        from curator.catalog.database import Database
    except ImportError as error:
        raise RequestError(
            f"{name!r} is an alias, and the catalog that knows it needs winnow-curation[server] to be read ({error}); "
            "install that, name a manifest by its id (man_…), or ask a server"
        ) from error
    database = Database.open(url, create=False, migrate=False)
    try:
        return Aliases(database).get(LOCAL_TENANT, name).manifest
    finally:
        database.close()


def _written_last(store: Store) -> str:
    selector = pafs.FileSelector(store.path("manifests"), allow_not_found=True)
    found = [info for info in store.filesystem.get_file_info(selector) if info.base_name.endswith(".json")]
    if not found:
        raise NotFoundError(f"there is no manifest under {store.uri} yet")
    return str(max(found, key=lambda info: (info.mtime_ns, info.base_name)).base_name.removesuffix(".json"))

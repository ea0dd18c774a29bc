"""Options that several commands share, and the place they point to: a root or a server.

Knows names and defaults only; opens nothing but what `place` is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Annotated, Any, Final

import typer

from curator.errors import NotFoundError, RequestError

__all__ = [
    "DEFAULT_ROOT",
    "DEFAULT_URL",
    "PRESETS",
    "RECIPE",
    "ApiKey",
    "AsJson",
    "Place",
    "Root",
    "Url",
    "client_of",
    "listed",
    "place_of",
]

DEFAULT_ROOT: Final = "./winnow-data"
DEFAULT_URL: Final = "http://127.0.0.1:8700"
PRESETS: Final = ("c4", "classification", "dclm", "dolma", "fineweb", "gopher", "instruction", "text")
"""Named here so that help loads no recipe; a test holds them against those shipped."""

RECIPE: Final = "A .yaml or .json file, or a name from the list below."


def listed(title: str, names: Sequence[str]) -> str:
    """The end of a command's help: names one to a line, which no terminal's width breaks."""
    return "\n".join(["\b", title, *(f"  {name}" for name in names)])


Root = Annotated[
    str | None,
    typer.Option(help="Where runs, shards and manifests lie: a directory or s3://… [WINNOW_ROOT, ./winnow-data]"),
]
Url = Annotated[str | None, typer.Option(envvar="WINNOW_URL", help="A Winnow server to ask instead of a root.")]
ApiKey = Annotated[str | None, typer.Option(envvar="WINNOW_API_KEY", help="The key shown to the server.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


class Place:
    """Where to read: under a root, or at a server. Exactly one of `root` and `client` is there."""

    def __init__(self, root: str | None, client: Any):
        self.root, self.client = root, client

    @cached_property
    def source(self) -> Any:
        """What shards are read from: a `curator.shards.source.ShardSource`."""
        from curator.client.sources import open_source

        return open_source(self.client if self.root is None else self.root)

    def manifest_id(self, name: str) -> str:
        """A manifest's id, or an alias: a server resolves it, the catalog of a root does here. Raises NotFoundError."""
        if self.root is None:
            return name
        from curator.shards.named import manifest_named
        from curator.storage import Store

        return manifest_named(Store.open(self.root), name)

    def close(self) -> None:
        """Closes the connections, if there are any."""
        for held in (self.client, self.__dict__.get("source")):
            close = getattr(held, "close", None)
            if close is not None:
                close()

    def store(self) -> Any:
        """The root as a `curator.storage.Store`. Raises NotFoundError if there is no such directory."""
        from curator.storage import Store

        if self.root is None:
            raise RequestError("this needs the run's files; give --root, not --url")
        store = Store.open(self.root)
        if store.is_local and not os.path.isdir(store.base):
            raise NotFoundError(f"no directory {store.base}; give the root of the run with --root or WINNOW_ROOT")
        return store

    def run(self, name: str) -> str:
        """A run's id; `last` is the newest run under the root. Raises NotFoundError."""
        if self.root is None or name != "last":
            return name
        runs = sorted({path.split("/")[1] for path in self.store().list("runs") if path.count("/") >= 2})
        if not runs:
            raise NotFoundError(f"no runs under {self.root} yet")
        return runs[-1]


def client_of(url: str | None, api_key: str | None) -> Any:
    """A client of the server at `url`, or at the address `winnow serve` takes by default."""
    from curator.client.rest import Client

    return Client(url or DEFAULT_URL, api_key=api_key)


@contextmanager
def place_of(root: str | None, url: str | None, api_key: str | None) -> Iterator[Place]:
    """--root before --url (or WINNOW_URL) before WINNOW_ROOT before ./winnow-data; closed on the way out."""
    if root is None and url:
        place = Place(None, client_of(url, api_key))
    else:
        place = Place(root or os.environ.get("WINNOW_ROOT") or DEFAULT_ROOT, None)
    try:
        yield place
    finally:
        place.close()

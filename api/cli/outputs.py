"""What a command writes beside the root: refused before any work where nothing can be written.

Knows places and their faults; nothing of formats.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from curator.errors import DiskFullError, RequestError, RunFailedError
from curator.storage import Store

__all__ = ["output_file", "output_folder", "written_to"]


def output_file(path: str, option: str = "--out") -> tuple[Store, str]:
    """The store and name of an output file. Raises RequestError where it cannot be written; creates nothing."""
    folder, name = os.path.split(path)
    store = Store.open(folder or ".")
    if store.is_local and os.path.isdir(path):
        raise RequestError(f"{option} {path} is a folder; name a file in it")
    _require(store, path, option)
    return store, name


def output_folder(path: str, option: str = "--out") -> Store:
    """The store of an output folder. Raises RequestError where nothing can be written, and for a folder with something
    in it, whose files would mix with the new ones; creates nothing."""
    store = Store.open(path)
    if store.is_local and os.path.exists(path) and not os.path.isdir(path):
        raise RequestError(f"{option} {path} is a file; give a folder")
    _require(store, path, option)
    if store.list():
        raise RequestError(f"{option} {path} is not empty; give a new folder")
    return store


@contextmanager
def written_to(path: str, option: str = "--out") -> Iterator[None]:
    """Around the writing. Raises RequestError when the place refuses it, DiskFullError when it is full: no run has
    anything to do with either."""
    try:
        yield
    except DiskFullError as error:
        raise DiskFullError(f"{error}, or name another place than {option} {path}") from error
    except RunFailedError as error:
        refused = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise RequestError(f"{option} {path} cannot be written: {_reason(refused)}; name another place") from error


def _require(store: Store, path: str, option: str) -> None:
    try:
        store.require_writable()
    except RequestError as error:
        raise RequestError(f"{option} {path}: {error}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)

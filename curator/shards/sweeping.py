"""Shards and indexes that no manifest lists and no run will list: what killed runs, forgotten and purged ones left.

Knows files and manifests; which runs are unfinished is the caller's knowledge. Safe beside writers, who renew a file's
time, under a hold that they share, before they count on it (`publishing.py`): a sweep looks at the time and removes
under a hold that it has alone. Killed anywhere it has removed a file or has not. On an object store, which knows no
holds, the look comes a moment before the removal; a run whose shard was taken in between is told so at its end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from typing import Final

from curator.errors import IntegrityError, NotFoundError
from curator.shards.publishing import held
from curator.storage import Store

__all__ = ["orphans", "sweep_orphans", "sweep_snapshots"]

_FOLDERS: Final = ("shards", "indexes")


def sweep_orphans(store: Store, in_use: Collection[str], older_than_s: float) -> int:
    """Removes what nobody counts on and nobody wrote or renewed for `older_than_s` seconds; says how many files.

    in_use: digests that unfinished runs have committed, read before this call: a run that finishes meanwhile has its
    manifest by then. Raises IntegrityError, and removes nothing, when a manifest cannot be read.
    """
    swept = 0
    for name in orphans(store, in_use, older_than_s):
        with held(store, name, alone=True):
            if _is_old(store, name, older_than_s):
                store.delete(name)
                swept += 1
    return swept


def sweep_snapshots(store: Store, in_use: Collection[str], older_than_s: float) -> None:
    """As `sweep_orphans`, of feedback's snapshots, by name, that no run reads."""
    for name in sorted({*store.list("feedback/snapshots")} - {*in_use}):
        with held(store, name, alone=True):
            if _is_old(store, name, older_than_s):
                store.delete(name)


def orphans(store: Store, in_use: Collection[str], older_than_s: float) -> Iterator[str]:
    """What `sweep_orphans` would look at now."""
    wanted = {*in_use, *_listed(store)}
    for folder in _FOLDERS:
        for name in store.list(folder):
            digest = os.path.basename(name).removesuffix(".arrow")
            if len(digest) == 64 and digest not in wanted and _is_old(store, name, older_than_s):
                yield name


def _is_old(store: Store, name: str, older_than_s: float) -> bool:
    touched_s = store.touched_s(name)
    return touched_s is not None and time.time() - touched_s > older_than_s


def _listed(store: Store) -> set[str]:
    """Digests of all shards and indexes that manifests list."""
    listed: set[str] = set()
    for name in store.list("manifests"):
        if not name.endswith(".json"):
            continue
        try:
            shards = json.loads(store.read_bytes(name))["shards"]
            listed |= {str(shard[kind]) for shard in shards for kind in ("digest", "index")}
        except NotFoundError:
            continue  # it was removed a moment ago
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"manifest {name} cannot be read ({error!r}), so no shard is removed") from error
    return listed

"""Shards and indexes that no manifest lists and no run will list: what killed runs and forgotten ones left.

Knows files and manifests; which runs are unfinished is the caller's knowledge. Safe beside writers, who renew a file's
time before they count on it (`Store.renew`): a file is first set aside, and put back if it was renewed until then; who
comes later finds nothing and writes it again. Each sweep sets aside under a name of its own, so that none removes what
another has judged by an older look. Whatever a sweep that was killed had set aside, the next one settles.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Collection
from typing import Final

from curator.errors import IntegrityError, NotFoundError
from curator.storage import Store

__all__ = ["sweep_orphans"]

_FOLDERS: Final = ("shards", "indexes")
_ASIDE: Final = ".aside"


def sweep_orphans(store: Store, in_use: Collection[str], older_than_s: float) -> int:
    """Removes what nobody counts on and nobody wrote or renewed for `older_than_s` seconds; says how many files.

    in_use: digests that unfinished runs have committed, read before this call: a run that finishes meanwhile has its
    manifest by then. Object stores are left alone (nothing there can be set aside). Raises IntegrityError, and removes
    nothing, when a manifest cannot be read.
    """
    if not store.is_local:
        return 0
    wanted = {*in_use, *_listed(store)}
    swept = 0
    for folder in _FOLDERS:
        for name in store.list(folder):
            own = name.rpartition("~")[0] if name.endswith(_ASIDE) else name
            path, digest = store.path(own), os.path.basename(own).removesuffix(".arrow")
            if name.endswith(_ASIDE):
                swept += _settled(path, store.path(name), digest in wanted, older_than_s)
            elif len(digest) == 64 and digest not in wanted and not _is_fresh(path, older_than_s):
                aside = f"{path}~{uuid.uuid4().hex}{_ASIDE}"
                with contextlib.suppress(FileNotFoundError):  # another sweep was quicker
                    os.rename(path, aside)
                    swept += _settled(path, aside, False, older_than_s)
    return swept


def _settled(path: str, aside: str, wanted: bool, older_than_s: float) -> bool:
    """A file that was set aside goes, or comes back: wanted, or renewed before it was set aside. True: it went."""
    comes_back = wanted or _is_fresh(aside, older_than_s)
    try:
        if comes_back and not os.path.exists(path):
            os.rename(aside, path)
            return False
        os.remove(aside)  # its name is its content: another copy is as good
    except FileNotFoundError:  # another sweep was quicker
        return False
    return not comes_back


def _is_fresh(path: str, older_than_s: float) -> bool:
    try:
        return time.time() - os.path.getmtime(path) <= older_than_s
    except FileNotFoundError:
        return True


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

"""How much a tenant keeps, by kind: from the catalog where it knows sizes, else by looking at the files.

Knows the catalog and the store; nothing of HTTP. A look at files serves for a minute.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from curator.catalog import Catalog
from curator.storage import Store

__all__ = ["Kept", "Stocktaking"]

_SERVES_S: Final = 60.0
_MOST: Final = 1000


@dataclass(frozen=True)
class Kept:
    """How many there are, and their bytes."""

    count: int
    bytes: int


class Stocktaking:
    def __init__(self, catalog: Catalog, store: Store):
        self._catalog, self._store, self._lock = catalog, store, threading.Lock()
        self._seen: OrderedDict[str, tuple[float, tuple[dict[str, Kept], int, dt.datetime]]] = OrderedDict()

    def of(self, tenant: str) -> tuple[dict[str, Kept], int, dt.datetime]:
        """(what is kept by kind, deleted runs not yet purged, when it was counted)."""
        with self._lock:
            at, seen = self._seen.get(tenant, (float("-inf"), None))
            if seen is None or time.monotonic() - at > _SERVES_S:
                seen = self._counted(tenant)
                self._seen[tenant] = (time.monotonic(), seen)
                while len(self._seen) > _MOST:
                    self._seen.popitem(last=False)
            return seen

    def _counted(self, tenant: str) -> tuple[dict[str, Kept], int, dt.datetime]:
        sizes, everything = self._catalog.quotas.sizes(tenant), self._catalog.purging.everything_of(tenant)
        kinds = {kind: Kept(count=count, bytes=size) for kind, (count, size) in sizes.items()}
        for kind, ids, place in (
            ("runs", everything["runs"], "runs"),
            ("training", everything["training_jobs"], "training"),
        ):
            found = [sum(self._store.sizes(f"{place}/{name}").values()) for name in ids]
            kinds[kind] = Kept(count=len(ids), bytes=sum(found))
        return kinds, self._catalog.purging.num_deleted(tenant), self._catalog.database.clock()

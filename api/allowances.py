"""What a tenant may still take: its quota, the server's defaults, and the refusal that names limit, use and way out.

Knows quotas and what is used; nothing of resources. A quota is looked up once in ten seconds.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from api.limits import Buckets, Streams
from curator.catalog import Catalog, Quota
from curator.settings import Settings

__all__ = ["Allowances"]

_KNOWN_S: Final = 10.0
_MOST: Final = 10_000
_STREAMS: Final = 1000
_BURST_S: Final = 10
"""A tenant may spend so many seconds' requests at once."""


class Allowances:
    """Of all tenants; every method takes the tenant. Raises Refusal: 413 for bytes, 403 for numbers, 429 for rates."""

    def __init__(self, catalog: Catalog, settings: Settings, clock: Callable[[], float] = time.monotonic):
        self._catalog, self._settings, self._clock = catalog, settings, clock
        self._known: OrderedDict[str, tuple[float, Quota]] = OrderedDict()
        self._lock = threading.Lock()
        self.streams = Streams()
        self._buckets: dict[int, Buckets] = {}

    def of(self, tenant: str) -> Quota:
        """The quota in force: what was set, else the server's defaults."""
        found = self._set_for(tenant)
        defaults = {
            "upload_bytes": self._settings.upload_quota_bytes,
            "running_runs": self._settings.tenant_runs,
            "event_streams": _STREAMS,
        }
        return Quota(**{**defaults, **found.model_dump(exclude_none=True)})

    def spend_request(self, tenant: str) -> None:
        """One request of the tenant's rate."""
        most = self._set_for(tenant).requests_per_s
        if most is None:
            return
        with self._lock:
            bucket = self._buckets.setdefault(most, Buckets(per_s=most, burst=most * _BURST_S))
        bucket.spend(tenant)

    def require_some_room(self, tenant: str, *, uploads: bool = False) -> None:
        """Room for some bytes more, how many will be known later."""
        self._catalog.quotas.require_some_room(tenant, self.of(tenant), uploads=uploads)

    def upload_room(self, tenant: str) -> int:
        """How many bytes one upload more may have."""
        quota, use = self.of(tenant), self._catalog.quotas.use(tenant)
        bounds = [(quota.upload_bytes, use.upload_bytes), (quota.stored_bytes, use.stored_bytes)]
        left = [most - used for most, used in bounds if most is not None]
        return max(0, min([self._settings.max_upload_bytes, *left]))

    @contextmanager
    def stream(self, tenant: str) -> Iterator[None]:
        """One open event stream."""
        with self.streams.one_more(tenant, self.of(tenant).event_streams):
            yield

    def _set_for(self, tenant: str) -> Quota:
        with self._lock:
            at, known = self._known.get(tenant, (0.0, None))
        if known is not None and self._clock() - at < _KNOWN_S:
            return known
        found = self._catalog.quotas.get(tenant)
        with self._lock:
            self._known[tenant] = (self._clock(), found)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return found

"""How much one caller may ask: token buckets by key, and a cap on open event streams.

Knows nothing of HTTP; time is an argument, so a test needs no waiting.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from api.errors import Refusal

__all__ = ["Buckets", "Places", "Streams"]

_MOST_CALLERS: Final = 10_000


class Buckets:
    """Each caller may spend `burst` at once and `per_s` in the long run."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic):
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def spend(self, caller: str, cost: float = 1.0) -> None:
        """Takes `cost` tokens. Raises Refusal 429 saying when to come back."""
        with self._lock:
            left = self._refilled(caller)
            if left < cost:
                wait_s = max(1, round((cost - left) / self._per_s))
                raise Refusal(
                    429,
                    "rate_limited",
                    f"too many requests (more than {self._per_s:g} a second); come back in {wait_s} s",
                    {"Retry-After": str(wait_s)},
                )
            self._left[caller] = (left - cost, self._clock())
            self._left.move_to_end(caller)
            while len(self._left) > _MOST_CALLERS:
                self._left.popitem(last=False)

    def _refilled(self, caller: str) -> float:
        left, at = self._left.get(caller, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - at) * self._per_s)


class Places:
    """So many at work at once, one of a tenant. Threads share it; `code` and `what` are told to those who come late."""

    def __init__(self, most: int, code: str, what: str):
        self._most, self._code, self._what = most, code, what
        self._lock, self._tenants = threading.Lock(), set[str]()

    @contextmanager
    def one(self, tenant: str) -> Iterator[None]:
        """A place. Raises Refusal 429 where there is none."""
        with self._lock:
            if tenant in self._tenants or len(self._tenants) == self._most:
                detail = (
                    f"{self._what} of this tenant is under way, or {self._most} of others are; ask again in a moment"
                )
                raise Refusal(429, self._code, detail, {"Retry-After": "5"})
            self._tenants.add(tenant)
        try:
            yield
        finally:
            with self._lock:
                self._tenants.discard(tenant)


class Streams:
    """Open event streams by tenant."""

    def __init__(self, most: int = 1000):
        self._most = most
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def num_open(self) -> int:
        return self._open.total()

    def open_of(self, tenant: str) -> int:
        with self._lock:
            return self._open[tenant]

    @contextmanager
    def one_more(self, tenant: str, most: int | None = None) -> Iterator[None]:
        """Counts a stream while it is open. Raises Refusal 429 above the cap, or `most` where that is given."""
        cap = self._most if most is None else most
        with self._lock:
            if self._open[tenant] >= cap:
                told = f"quota event_streams: {self._open[tenant]} of {cap} are open already; close one first"
                raise Refusal(429, "too_many_streams", told)
            self._open[tenant] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[tenant] -= 1

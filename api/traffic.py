"""What passed the counter, counted for Prometheus: requests by route and status, seconds, open streams.

Knows nothing of requests. Labels are route templates, never ids.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

__all__ = ["BUCKETS_S", "Traffic", "exposition"]

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Traffic:
    """Counts of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.under_way = 0
        self._buckets: Counter[tuple[str, float]] = Counter()
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: Counter[str] = Counter()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self.requests[method, route, status] += 1
            self.seconds[route] += seconds  # type: ignore[assignment]
            for bound in BUCKETS_S:
                self._buckets[route, bound] += seconds <= bound

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Counts a request while it is being answered."""
        with self._lock:
            self.under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1

    def samples(self) -> list[str]:
        """Lines of the Prometheus text format."""
        with self._lock:
            requests, seconds, buckets = dict(self.requests), dict(self.seconds), dict(self._buckets)
            under_way = float(self.under_way)
        counted = [
            ({"method": method, "route": route, "status": str(status)}, float(count))
            for (method, route, status), count in sorted(requests.items())
        ]
        totals: Counter[str] = Counter()
        for (_, route, _), count in requests.items():
            totals[route] += count
        return [
            *exposition("winnow_http_requests_total", "counter", "Requests answered.", counted),
            *exposition("winnow_http_requests_under_way", "gauge", "Requests being answered.", [({}, under_way)]),
            *histogram("winnow_http_request_duration_seconds", "Seconds until answered.", buckets, seconds, totals),
        ]


def histogram(
    name: str,
    told: str,
    buckets: Mapping[tuple[str, float], int],
    seconds: Mapping[str, float],
    totals: Mapping[str, int],
) -> list[str]:
    """A histogram by route: cumulative buckets, sum and count."""
    lines = [f"# HELP {name} {told}", f"# TYPE {name} histogram"]
    for route in sorted(seconds):
        label = f'route="{_escaped(route)}"'
        counts = [(f"{bound:g}", buckets.get((route, bound), 0)) for bound in BUCKETS_S]
        for bound, count in (*counts, ("+Inf", totals[route])):
            lines.append(f'{name}_bucket{{{label},le="{bound}"}} {count}')
        lines += [f"{name}_sum{{{label}}} {seconds[route]:g}", f"{name}_count{{{label}}} {totals[route]}"]
    return lines


def exposition(name: str, kind: str, told: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    """One metric in the text format, version 0.0.4."""
    lines = [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

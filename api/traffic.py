"""What passed the counter, counted for Prometheus: requests by route and status, seconds, open streams.

Knows nothing of requests. Labels are route templates, never ids.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["Traffic", "exposition"]


class Traffic:
    """Counts of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: Counter[str] = Counter()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self.requests[method, route, status] += 1
            self.seconds[route] += seconds  # type: ignore[assignment]

    def samples(self) -> list[str]:
        """Lines of the Prometheus text format."""
        with self._lock:
            requests, seconds = dict(self.requests), dict(self.seconds)
        counted = [
            ({"method": method, "route": route, "status": str(status)}, float(count))
            for (method, route, status), count in sorted(requests.items())
        ]
        timed = [({"route": route}, float(total)) for route, total in sorted(seconds.items())]
        return [
            *exposition("winnow_http_requests_total", "counter", "Requests answered.", counted),
            *exposition("winnow_http_request_seconds_total", "counter", "Seconds spent answering.", timed),
        ]


def exposition(name: str, kind: str, told: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    """One metric in the text format, version 0.0.4."""
    lines = [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

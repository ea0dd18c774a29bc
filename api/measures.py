"""What the service tells Prometheus, put together when it is asked.

Knows the catalog's counts and this process; no label ever holds an id, a name or a text of a user.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

from api.service import Service
from api.traffic import exposition
from curator.version import software_version

__all__ = ["gathered"]

_STARTED = time.time()


def gathered(service: Service) -> str:
    """All metrics in the text format, version 0.0.4."""
    catalog = service.catalog
    alive = None if service.runner_alive is None else service.runner_alive()
    states: dict[str, tuple[str, Mapping[Any, int]]] = {
        "winnow_runs": ("Runs by state.", catalog.runs.counts()),
        "winnow_training_jobs": ("Training jobs by state.", catalog.jobs.counts()),
        "winnow_exports": ("Exports by state.", catalog.exports.counts()),
        "winnow_rewrites": ("Rewrites by state.", catalog.rewrites.counts()),
        "winnow_webhook_deliveries": ("Webhook deliveries by state.", catalog.webhooks.counts()),
    }
    lines = service.traffic.samples()
    for name, (told, counts) in states.items():
        lines += exposition(name, "gauge", told, [({"state": str(state)}, float(n)) for state, n in counts.items()])
    kept = [({"kind": kind}, float(size)) for kind, (_, size) in catalog.quotas.sizes().items()]
    lines += exposition("winnow_stored_bytes", "gauge", "Bytes of uploads, shards and exports.", kept)
    lines += exposition(
        "winnow_event_streams", "gauge", "Open event streams.", [({}, float(service.allowances.streams.num_open))]
    )
    runner: list[tuple[dict[str, str], float]] = [] if alive is None else [({}, float(alive))]
    lines += exposition("winnow_runner_alive", "gauge", "Whether the runner beside this server lives.", runner)
    version = [({"version": software_version()}, 1.0)]
    lines += exposition("winnow_build_info", "gauge", "The version that runs, always 1.", version)
    return "\n".join([*lines, *_process()]) + "\n"


def _process() -> list[str]:
    """This process, under the names every Prometheus client gives them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    lines = exposition("process_cpu_seconds_total", "counter", "User and system time.", [({}, cpu_s)])
    lines += exposition("process_start_time_seconds", "gauge", "When it began.", [({}, _STARTED)])
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as status:
            resident = int(status.read().split()[1]) * resource.getpagesize()
        lines += exposition("process_resident_memory_bytes", "gauge", "Memory held.", [({}, float(resident))])
        files = float(len(os.listdir("/proc/self/fd")))
        lines += exposition("process_open_fds", "gauge", "Open files and sockets.", [({}, files)])
    return lines

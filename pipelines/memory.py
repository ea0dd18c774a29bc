"""How much memory this process has held at its peak, since the work at hand began."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["begin_peak", "peak_rss_bytes"]


def begin_peak() -> None:
    """Forgets the peak of earlier work in this process. Only Linux can (proc(5), clear_refs); elsewhere the peak stays
    that of the process's whole life. Work beside it in other threads shares the one peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_rss_bytes() -> int:
    """The largest resident set of this process since `begin_peak`, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

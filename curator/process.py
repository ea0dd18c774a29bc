"""Who a process is, and whether it has surely ended: a name that no other process ever has.

Knows nothing of what processes own. A name that looks dead by mistake costs a restart, never a wrong result.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["has_ended", "process_name"]


def process_name() -> str:
    """This process: `host/boot and process namespace/pid/start time`."""
    return "/".join([*_here(), str(os.getpid()), _start_of(os.getpid()) or "-"])


def has_ended(name: str) -> bool:
    """True when the process lived in this host's process namespace and is gone. False for processes elsewhere and
    names of another form: of them nothing can be told from here."""
    *here, pid, start = name.split("/") if name.count("/") == 3 else ("", "0", "")
    if tuple(here) != _here() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives under another user
    return start != "-" and _start_of(int(pid)) != start


def _here() -> tuple[str, str]:
    """Host name, and boot and process namespace where the system tells them: two containers may share a host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return socket.gethostname(), f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname(), "-"


def _start_of(pid: int) -> str | None:
    """The process's start in clock ticks after boot (Linux, proc(5) field 22), which tells a reused pid apart; zombies
    count as gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]

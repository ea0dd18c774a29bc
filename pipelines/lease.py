"""Keeping a claimed run: the owner's name, the heartbeat beside the work, and how to tell that an owner is dead.

Knows nothing of the work. A name that looks dead by mistake costs a restart, never a wrong result: the fence decides.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from curator.catalog import CatalogJournal
from curator.errors import LeaseLostError, RetryableError

__all__ = ["beating", "is_dead", "owner_name"]

log: Final = logging.getLogger(__name__)
_count: Final = itertools.count(1)


def owner_name() -> str:
    """A name no other owner ever has: `host/boot and process namespace/pid/start time/count`."""
    return "/".join([*_here(), str(os.getpid()), _start_of(os.getpid()) or "-", str(next(_count))])


def is_dead(owner: str) -> bool:
    """True when the owner's process lived in this host's process namespace and is gone, so that its lease need not be
    waited for. False for owners elsewhere and names of another form: only their lease can tell."""
    *here, pid, start, _ = owner.split("/") if owner.count("/") == 4 else ("", "0", "", "")
    if tuple(here) != _here() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives under another user
    return start != "-" and _start_of(int(pid)) != start


@contextmanager
def beating(journal: CatalogJournal, heartbeat_s: float) -> Iterator[None]:
    """Renews the journal's lease every `heartbeat_s` seconds while the block runs. A lost lease ends the beating;
    the journal remembers it, and the work hears of it at its next call."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(journal, heartbeat_s, ended), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(journal: CatalogJournal, heartbeat_s: float, ended: threading.Event) -> None:
    while not ended.wait(heartbeat_s):
        try:
            journal.heartbeat()
        except LeaseLostError as error:
            log.warning("%s", error)
            return
        except RetryableError as error:
            log.warning("the heartbeat of run %s did not get through, trying again: %s", journal.run.id, error)


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

"""One Ray session a process: joined by address, or started on this machine with its dashboard off.

It stays for the life of the process: starting Ray takes longer than most runs. A Ray of our own whose head has died is
left, and another one started.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import ray

from curator.errors import TransportError
from pipelines.cluster.token import check_address

__all__ = ["connect", "require_head"]

_HEAD: Final = ("gcs_server", "raylet")
_head: Final[list[int]] = []
"""The processes of a Ray started here without which it does nothing; they are children of this process."""


def connect(address: str | None) -> None:
    """Joins the Ray at `address`, or starts one here; nothing if this process is connected. Raises RequestError,
    TransportError when Ray does not answer."""
    if ray.is_initialized():
        if not _dead():
            return
        ray.shutdown()
    if address is not None:
        check_address(address, os.environ)
    _let_workers_import_us()
    try:
        ray.init(
            address=address or "local",  # never a cluster that happens to run on this machine
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except Exception as error:  # Ray raises bare ones, too
        ray.shutdown()
        raise TransportError(
            f"Ray at {address or 'this machine'} does not answer: {error}; check that it runs"
        ) from error
    _head[:] = [] if address else [pid for pid in _children() if _name(pid).startswith(_HEAD)]


def require_head() -> None:
    """Raises TransportError once the head of a Ray started here has died: what waits for it would wait for ever."""
    if dead := _dead():
        raise TransportError(f"Ray's head on this machine died (process {dead[0]}); the next attempt starts another")


def _dead() -> list[int]:
    return [pid for pid in _head if not _name(pid).startswith(_HEAD)]


def _children() -> list[int]:
    """This process's children, of all its threads (Linux; elsewhere none are known)."""
    return [int(pid) for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()]


def _name(pid: int) -> str:
    """What a living process is called; empty for one that has ended, waited for or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return "" if stat.rpartition(")")[2].split()[0] in "ZX" else stat.partition("(")[2].rpartition(")")[0]


def _let_workers_import_us() -> None:
    """Workers of a Ray started here find these packages even when they are run from a checkout."""
    home = str(Path(__file__).parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if home not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([home, *filter(None, paths)])

"""Keeping what was claimed, a run or a training job: the owner's name, the heartbeat, and who is surely dead.

Knows nothing of the work. A name that looks dead by mistake costs a restart, never a wrong result: the fence decides.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from curator.catalog import Catalog, ClaimedJob
from curator.errors import LeaseLostError, RetryableError
from curator.process import has_ended, process_name

__all__ = ["Heart", "JobLease", "beating", "is_dead", "owner_name"]

log: Final = logging.getLogger(__name__)
_count: Final = itertools.count(1)
_FLUSH_S: Final = 1.0
"""Progress that was held back is at most this old when people see it."""


def owner_name() -> str:
    """A name no other owner ever has: the process's and a count."""
    return f"{process_name()}/{next(_count)}"


def is_dead(owner: str) -> bool:
    """True when the owner's process is surely gone, so that its lease need not be waited for. False for owners
    elsewhere and names of another form: only their lease can tell."""
    return has_ended(owner.rpartition("/")[0])


class Heart(Protocol):
    """What is kept alive: a run's journal, a training job's lease."""

    def heartbeat(self) -> object:
        """Renews the lease. Raises LeaseLostError once it is lost, RetryableError when the catalog is out of reach."""
        ...

    def flush(self) -> object:
        """Writes progress that was held back, if there is any. Raises as `heartbeat`."""
        ...


class JobLease:
    """The lease of one claimed training job; the trainer's thread and the heartbeat share it."""

    def __init__(self, catalog: Catalog, job: ClaimedJob, lease_s: float, shutdown: threading.Event):
        self.job = job
        self._catalog, self._lease_s, self._shutdown, self._lost = catalog, lease_s, shutdown, False
        self._lock = threading.Lock()
        self._progress: dict[str, Any] | None = None

    def progress(self, **numbers: int | float) -> None:
        """Where the training stands; the next heartbeat writes it."""
        with self._lock:
            self._progress = dict(numbers)

    def should_stop(self) -> bool:
        """True when the process was told to end, or the job was cancelled or is another runner's now."""
        return self._lost or self._shutdown.is_set()

    def heartbeat(self) -> None:
        """Renews the lease and writes the progress since the last time. Raises LeaseLostError."""
        with self._lock:  # only the heartbeat's own thread writes, so progress cannot overtake itself
            progress, self._progress = self._progress, None
        try:
            self._catalog.jobs.heartbeat(self.job, self._lease_s, progress)
        except LeaseLostError:
            self._lost = True
            raise
        except Exception:
            with self._lock:  # the next heartbeat brings it, unless there is newer by then
                self._progress = self._progress or progress
            raise

    def flush(self) -> None:
        """Writes the progress that is waiting, if any. Raises LeaseLostError."""
        if self._progress is not None:
            self.heartbeat()


@contextmanager
def beating(heart: Heart, heartbeat_s: float) -> Iterator[None]:
    """Renews a lease every `heartbeat_s` seconds while the block runs. A lost lease ends the beating; the heart
    remembers it, and the work hears of it at its next question."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(heart, heartbeat_s, ended), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(heart: Heart, heartbeat_s: float, ended: threading.Event) -> None:
    every_s, waited_s = min(heartbeat_s, _FLUSH_S), 0.0
    while not ended.wait(every_s):
        waited_s += every_s
        due = waited_s >= heartbeat_s
        waited_s = 0.0 if due else waited_s
        try:
            heart.heartbeat() if due else heart.flush()
        except LeaseLostError as error:
            log.warning("%s", error)
            return
        except RetryableError as error:
            log.warning("a heartbeat did not get through, trying again: %s", error)

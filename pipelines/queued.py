"""One turn at queued work: claim it, do it under a heartbeat, say in its row how it ended.

Knows leases and the kinds of error; nothing of what the work is (`exporting.py`, `rewriting.py`) or of HTTP.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from curator.catalog import Claim, QueuedWork, Work
from curator.errors import LeaseLostError, RetryableError, StoppedError, WinnowError
from curator.log_lines import telling
from curator.settings import Settings
from curator.tracing import Attributes, span
from pipelines.lease import beating, is_dead

__all__ = ["WorkLease", "turn"]

log: Final = logging.getLogger(__name__)
C = TypeVar("C", bound=Claim)
W = TypeVar("W", bound=Work)


class WorkLease(Generic[W, C]):
    """The lease of claimed work; who does it and the heartbeat share it."""

    def __init__(self, queue: QueuedWork[W, C], claimed: C, lease_s: float, shutdown: threading.Event):
        self.claimed = claimed
        self._queue, self._lease_s, self._shutdown, self._lost = queue, lease_s, shutdown, False
        self._lock = threading.Lock()
        self._progress: dict[str, Any] | None = None

    def progress(self, rows_done: int, rows_total: int) -> None:
        """Where the work stands; the next heartbeat tells. Raises StoppedError when the process was told to end,
        LeaseLostError when the work was cancelled or is another runner's now."""
        with self._lock:
            self._progress = {"rows_done": rows_done, "rows_total": rows_total}
        if self._lost:
            raise LeaseLostError(f"{self.claimed.id} was cancelled, or is another runner's now; it stops here")
        if self._shutdown.is_set():
            raise StoppedError("shutdown")

    def heartbeat(self) -> None:
        """Renews the lease and writes the progress since the last time. Raises LeaseLostError."""
        with self._lock:
            progress, self._progress = self._progress, None
        try:
            self._queue.heartbeat(self.claimed, self._lease_s, progress)
        except LeaseLostError:
            self._lost = True
            raise

    def flush(self) -> None:
        """Writes the progress that is waiting, if any. Raises LeaseLostError."""
        if self._progress is not None:
            self.heartbeat()


def turn(
    name: str,
    queue: QueuedWork[W, C],
    settings: Settings,
    owner: str,
    shutdown: threading.Event,
    do: Callable[[WorkLease[W, C]], dict[str, Any]],
    undo: Callable[[C], None] = lambda claimed: None,
) -> bool:
    """Takes lost work away from dead runners, then does one piece if there is one: `do` gives its result, `undo`
    removes what it left when it could not. `name`: of its span, and of its id in log lines. False: nothing to do."""
    for lost in queue.reap(settings.max_attempts, is_dead=is_dead):
        log.warning("%s was lost by its runner and is %s now (attempt %d)", lost.id, lost.state, lost.attempt)
    claimed = queue.claim(owner, settings.lease_s)
    if claimed is None:
        return False
    lease = WorkLease(queue, claimed, settings.lease_s, shutdown)
    with telling(**{name: claimed.id}):
        log.info("%s: attempt %d begins", claimed.id, claimed.attempt)
        try:
            about: Attributes = {"winnow.id": claimed.id, "winnow.attempt": claimed.attempt}
            with span(name, about, kind="consumer"), beating(lease, settings.heartbeat_s):
                result = do(lease)
            queue.finish(claimed, result)
            log.info("%s: done", claimed.id)
        except Exception as error:
            undo(claimed)
            with suppress(LeaseLostError):  # cancelled, or another runner's
                _ended(queue, claimed, error, settings, shutdown)
    return True


def _ended(
    queue: QueuedWork[W, C], claimed: C, error: Exception, settings: Settings, shutdown: threading.Event
) -> None:
    """The row of work that was not done: queued anew after a stop or a passing fault, else failed."""
    if isinstance(error, LeaseLostError):
        log.warning("%s", error)
    elif isinstance(error, StoppedError):
        queue.release(claimed)
    elif isinstance(error, RetryableError) and claimed.attempt < settings.max_attempts:
        log.warning("%s is tried again: %s", claimed.id, error)
        shutdown.wait(min(2.0**claimed.attempt, settings.lease_s / 2))
        queue.release(claimed, again=True)
    else:
        log.warning("%s failed: %s", claimed.id, error, exc_info=not isinstance(error, WinnowError))
        queue.fail(claimed, _fault(error))


def _fault(error: Exception) -> dict[str, str]:
    if isinstance(error, WinnowError):
        return {"code": error.code, "message": str(error)}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"code": "disk_full", "message": f"no space left: {error}; free some and ask again"}
    return {"code": "internal", "message": f"{type(error).__name__}: {error}"}

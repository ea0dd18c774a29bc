"""Threads that several owners share: each owner's work is done one after another, so that none takes all threads.

Knows nothing of what the work is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

__all__ = ["Turns"]

Work = Callable[[], None]


class Turns:
    """Threads share it."""

    def __init__(self, num_threads: int, name: str):
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[Future[None], Work]]] = {}

    def submit(self, owner: str, work: Work) -> Future[None]:
        """Does the work once the owner's earlier work is done and a thread is free."""
        future: Future[None] = Future()
        with self._lock:
            if owner in self._waiting:
                self._waiting[owner].append((future, work))
            else:
                self._pool.submit(self._take, owner, future, work)
                self._waiting[owner] = deque()
        return future

    def shutdown(self, *, wait: bool, cancel_futures: bool = False) -> None:
        """As of a pool; what still waits for its turn is not begun."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _take(self, owner: str, future: Future[None], work: Work) -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        with self._lock:
            if self._waiting[owner]:
                with suppress(RuntimeError):  # shut down
                    self._pool.submit(self._take, owner, *self._waiting[owner].popleft())
            else:
                del self._waiting[owner]

"""SIGTERM and Ctrl-C as a question a trainer asks between two steps.

Knows signals; nothing of what is stopped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["until_signalled"]


@contextmanager
def until_signalled() -> Iterator[Callable[[], bool]]:
    """A `should_stop` that turns true at the first SIGTERM or Ctrl-C; the second one does what it did before.

    Signals are heard in the main thread only; in another it never turns true.
    """
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: object) -> None:
        restore()
        heard.set()

    for number in before:
        signal.signal(number, hear)
    try:
        yield heard.is_set
    finally:
        restore()

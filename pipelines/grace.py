"""Told to end: SIGTERM and Ctrl-C, heard once, and the time that is left then.

Knows signals and the clock; nothing of what is being ended.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["cut_off_after", "told_to_end"]

log: Final = logging.getLogger(__name__)


@contextmanager
def told_to_end(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C call `stop` the first time; the second time they do what they did before. Signals are only
    heard in the main thread: in another one this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def heard(number: int, frame: object) -> None:
        restore()
        stop()

    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        restore()


def cut_off_after(grace_s: float, last_act: Callable[[], None]) -> None:
    """Ends this process with code 3 after `grace_s` seconds, `last_act` done, whatever it still works on."""

    def cut() -> None:
        log.warning("the grace period of %g s is over, ending now", grace_s)
        try:
            last_act()
        finally:
            os._exit(3)

    timer = threading.Timer(grace_s, cut)
    timer.daemon = True
    timer.start()

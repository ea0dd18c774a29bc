"""Waiting for what does not answer: the same call again, ever less often, until it goes through or patience is over.

Knows which errors pass; nothing of what is called.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from curator.errors import RetryableError

__all__ = ["patiently"]

log: Final = logging.getLogger(__name__)
_FIRST_S, _MOST_S = 0.1, 5.0

T = TypeVar("T")


def patiently(call: Callable[[], T], patience_s: float, giving_up: threading.Event) -> T:
    """What `call` returns. A RetryableError is raised only once it has come for `patience_s` seconds or `giving_up`
    is set; `call` must be one that changes nothing when it is made twice."""
    until, wait_s = time.monotonic() + patience_s, _FIRST_S
    while True:
        try:
            return call()
        except RetryableError as error:
            if time.monotonic() + wait_s > until or giving_up.wait(wait_s):
                raise
            log.warning("asking again: %s", error)
            wait_s = min(2 * wait_s, _MOST_S)

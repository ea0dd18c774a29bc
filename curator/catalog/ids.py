"""Identifiers: a prefix and a UUIDv7, so that sorting ids sorts by time of birth.

Knows nothing of what is being named. Layout: RFC 9562, section 5.7, with the 12 bits after the time used as a counter
inside one millisecond (section 6.2, method 1), so ids of one process never run backwards.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["new_id"]

_lock = threading.Lock()
_last = 0  # milliseconds << 12 | counter of the newest id given out by this process


def new_id(prefix: str) -> str:
    """`prefix_` and 32 hex digits, larger than every id this process made before."""
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1_000_000 << 12)
        milliseconds, counter = _last >> 12, _last & 0xFFF
    tail = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    value = milliseconds << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | tail
    return f"{prefix}_{value:032x}"

"""A lock between processes, on a file or a folder.

Knows paths; nothing of what is done under a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["alone"]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One thread of one process at a time; everybody where it cannot be locked. A file is made where nothing is."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)  # a process forked meanwhile has it open, too
        yield

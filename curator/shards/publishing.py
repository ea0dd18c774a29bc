"""Putting a file in its place that is named by its content, beside others who put the same one there, or sweep.

Who publishes shares a hold on the file's folder, who removes has it alone: between the look at a file's time and its
removal nobody can count on it. A hold ends with its process, however that ends. On an object store nothing is held:
there an object is written again once it is a day old, long before a sweep may take it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from curator.storage import Store

__all__ = ["held", "publish"]


def publish(store: Store, name: str, data: bytes | memoryview) -> None:
    """The file is there, and its time is now, so that no sweep takes it for forgotten."""
    with held(store, name):
        if not store.renew(name, len(data)):
            store.write_bytes(name, data)


@contextmanager
def held(store: Store, name: str, *, alone: bool = False) -> Iterator[None]:
    """Holds the folder a file lies in. Raises OSError where the file system knows no locks and `alone` is asked for;
    on such a one nothing is swept."""
    if not store.is_local:
        yield
        return
    folder = os.path.dirname(store.path(name))
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except OSError:
            if alone:
                raise
        yield
    finally:
        os.close(descriptor)

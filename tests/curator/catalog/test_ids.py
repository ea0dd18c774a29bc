"""Ids sort by birth and are UUIDs of version 7."""

from __future__ import annotations

import threading
import time
import uuid

from curator.catalog.ids import new_id


def test_the_form() -> None:
    prefix, _, digits = new_id("run").partition("_")
    value = uuid.UUID(digits)
    assert (prefix, value.version, value.variant) == ("run", 7, uuid.RFC_4122)
    assert abs((value.int >> 80) / 1000 - time.time()) < 60


def test_they_never_run_backwards() -> None:
    made = [new_id("run") for _ in range(20_000)]  # more than the 4,096 that share a millisecond's counter
    assert made == sorted(set(made))


def test_threads_get_different_ones() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(new_id("x") for _ in range(2000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for part in made for name in part}) == 8000
    assert all(part == sorted(part) for part in made)

"""Reading ahead changes when, never what."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipelines.training.read_ahead import read_ahead


def _count(number: int, seen: list[str], fail_at: int | None = None) -> Iterator[int]:
    try:
        for item in range(number):
            if item == fail_at:
                raise KeyError(item)
            yield item
    finally:
        seen.append("closed")


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_order_and_end(depth: int) -> None:
    seen: list[str] = []
    assert list(read_ahead(_count(50, seen), depth)) == list(range(50)) and seen == ["closed"]


@pytest.mark.parametrize("depth", [0, 2])
def test_a_failure_comes_in_its_place(depth: int) -> None:
    got: list[int] = []
    with pytest.raises(KeyError, match="3"):
        for item in read_ahead(_count(9, [], fail_at=3), depth):
            got.append(item)
    assert got == [0, 1, 2]


@pytest.mark.parametrize("depth", [0, 2])
def test_closing_early_ends_the_thread_and_the_source(depth: int) -> None:
    seen: list[str] = []
    items = read_ahead(_count(10_000, seen), depth)
    assert next(items) == 0
    items.close()
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
    assert seen == ["closed"]

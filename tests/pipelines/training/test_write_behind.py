"""Writes in a thread: one at a time, over at the end, their errors told."""

from __future__ import annotations

import threading

import pytest

from pipelines.training.write_behind import WriteBehind


def test_the_caller_goes_on_and_the_next_write_waits() -> None:
    go, done = threading.Event(), list[int]()

    def slow() -> None:
        assert go.wait(10)
        done.append(1)

    with WriteBehind() as behind:
        behind(slow)
        assert not done
        go.set()
        behind(lambda: done.append(2))
    assert done == [1, 2]


def test_at_once_where_it_is_off() -> None:
    done = list[int]()
    behind = WriteBehind(False)
    behind(lambda: done.append(1))
    assert done == [1]


def _full() -> None:
    raise OSError("no space left")


def test_an_error_is_raised_by_the_next_write_or_at_the_end() -> None:
    behind = WriteBehind()
    behind(_full)
    with pytest.raises(OSError, match="no space"):
        behind(lambda: None)
    with pytest.raises(OSError, match="no space"), WriteBehind() as other:
        other(_full)


def test_an_error_of_the_body_is_not_hidden() -> None:
    with pytest.raises(KeyError), WriteBehind() as behind:
        behind(_full)
        raise KeyError("the reason")

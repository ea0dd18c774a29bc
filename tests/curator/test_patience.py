"""Calls made again while their counterpart is away, and no longer than that."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from curator.errors import LeaseLostError, TransportError
from curator.patience import patiently


def away(times: int) -> Callable[[], str]:
    """A call that does not get through the first `times` times."""
    left = [TransportError("away")] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "through"

    return call


def test_a_call_goes_through_in_the_end() -> None:
    assert patiently(away(2), 60.0, threading.Event()) == "through"


@pytest.mark.parametrize("patience_s", [0.0, 0.15])
def test_patience_has_an_end(patience_s: float) -> None:
    with pytest.raises(TransportError):
        patiently(away(9), patience_s, threading.Event())


def test_nobody_waits_who_was_told_to_end() -> None:
    ended = threading.Event()
    ended.set()
    with pytest.raises(TransportError):
        patiently(away(1), 60.0, ended)


def test_other_errors_are_not_waited_out() -> None:
    def lost() -> None:
        raise LeaseLostError("gone")

    with pytest.raises(LeaseLostError):
        patiently(lost, 60.0, threading.Event())

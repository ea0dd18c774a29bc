"""One owner's work, however much, leaves threads to the others."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from api.turns import Turns


def test_an_owners_work_is_done_in_order_and_holds_nobody_else_up() -> None:
    turns, go_on, done = Turns(2, "turns"), threading.Event(), list[int]()

    def slow(number: int) -> None:
        go_on.wait(20)
        done.append(number)

    held = [turns.submit("a", partial(slow, number)) for number in range(4)]
    turns.submit("b", lambda: None).result(20)
    assert not done
    go_on.set()
    for future in held:
        future.result(20)
    assert done == [0, 1, 2, 3]
    turns.shutdown(wait=True)


def test_a_failure_is_told_and_the_next_one_has_its_turn() -> None:
    turns = Turns(1, "turns")

    def failing() -> None:
        raise KeyError("a")

    first, second = turns.submit("a", failing), turns.submit("a", lambda: None)
    with pytest.raises(KeyError):
        first.result(20)
    second.result(20)
    turns.submit("a", lambda: None).result(20)
    turns.shutdown(wait=True)


def test_what_waits_is_not_begun_after_the_end() -> None:
    turns, begun, go_on, done = Turns(1, "turns"), threading.Event(), threading.Event(), list[int]()

    def first() -> None:
        begun.set()
        go_on.wait(20)

    turns.submit("a", first)
    waiting = turns.submit("a", lambda: done.append(1))
    assert begun.wait(20)
    turns.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    turns.shutdown(wait=True)
    assert done == [] and not waiting.done()

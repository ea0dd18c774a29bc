"""A stop is heard where somebody listens, and nowhere else."""

from __future__ import annotations

import pytest

from curator.errors import LeaseLostError, StoppedError, TransportError
from curator.run import StopRequest
from curator.stopping import hear, listening


def test_nobody_listens() -> None:
    hear()


def test_a_stop_is_heard_in_the_midst_of_work() -> None:
    asked: list[StopRequest] = []
    turns = 0
    with pytest.raises(StoppedError, match="cancel"), listening(lambda: asked[0] if asked else None):
        for turn in range(10):
            turns = turn
            hear()
            if turn == 3:
                asked.append("cancel")
    assert turns == 4
    hear()  # the work is over


def test_work_that_was_to_stop_does_not_begin() -> None:
    with pytest.raises(StoppedError), listening(lambda: "pause"):
        raise AssertionError("it began")


def test_a_question_that_does_not_get_through_is_put_again_and_a_lost_lease_is_told() -> None:
    answers: list[Exception] = [TransportError("silence"), TransportError("silence"), LeaseLostError("gone")]

    def ask() -> StopRequest | None:
        raise answers.pop(0)

    with pytest.raises(LeaseLostError), listening(ask):
        hear()
        hear()
    assert not answers

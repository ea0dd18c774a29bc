"""The board: one answer for all to who took part, whatever the order; the lost are missed, the returned counted on."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import RunFailedError
from pipelines.training.parallel.board import NOTHING, Board


def boards(count: int, patience_s: float = 0.4) -> list[Board]:
    store = dist.HashStore()
    return [Board(lambda: store, rank, count, patience_s) for rank in range(count)]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0, 0.03), min_size=3, max_size=3), st.sets(st.integers(0, 2), max_size=2))
def test_all_that_are_there_see_the_same(delays: list[float], dead: set[int]) -> None:
    """Ranks come in any order; the dead ones are left out by everybody."""
    three = boards(3)

    def take_part(board: Board) -> dict[int, bytes]:
        board._beat()
        time.sleep(delays[board.rank])
        return board.exchange("round", b"value %d" % board.rank)

    alive = [board for board in three if board.rank not in dead]
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(take_part, alive))
    assert all(one == found[0] for one in found)
    assert found[0] == {board.rank: b"value %d" % board.rank for board in alive}
    assert all(set(board.lost) <= dead for board in alive)


def test_a_rank_that_was_missed_is_not_in_a_mean_it_came_too_late_for() -> None:
    here, late = boards(2, patience_s=1.0)  # to give a sign of life within it must be easy, on a busy machine too
    assert here.exchange("round", b"a") == {0: b"a"} and here.lost == (1,)
    assert late.exchange("round", b"b") == {0: b"a"}
    late._beat()
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda pair: pair[0].exchange("next", pair[1]), [(here, b"c"), (late, NOTHING)]))
    assert both == [{0: b"c"}] * 2, "it is waited for again, and has nothing"
    assert here._alive(1) and here.lost == ()  # it looks for signs of life only where something is missing


def test_what_is_large_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.parallel.board._PIECE_BYTES", 5)
    one, two = boards(2)
    one.put("large", b"more than five bytes")
    one.put("empty", b"")
    assert two.get("large") == b"more than five bytes" and two.get("empty") == b"" and two.get("other") is None
    two.remove("large")
    assert one.get("large") is None and one._get("large.0") is None


def test_too_far_behind() -> None:
    here, late = boards(2)
    here.exchange("round", b"a")
    here.remove("round/0")
    with pytest.raises(RunFailedError, match="rank 1 is too far behind"):
        late.exchange("round", b"b")


def test_a_question_is_answered_by_whoever_leads() -> None:
    leading, asking = boards(2, patience_s=1.0)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(asking.ask, "join")
        until = time.monotonic() + 5
        while leading.get("join") is None and time.monotonic() < until:
            time.sleep(0.005)
        leading.answer("join", lambda: b"this")
        assert asked.result(5) == b"this"
    with pytest.raises(RunFailedError, match="no rank answers rank 1 that wants to join"):
        boards(2, patience_s=0.01)[1].ask("join")


def test_a_question_waits_while_anybody_is_alive() -> None:
    """In a start together nobody is let in; it may take hours."""
    leading, asking = boards(2, patience_s=0.2)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(asking.ask, "join")
        until = time.monotonic() + 3.0  # beyond ten times the patience
        while time.monotonic() < until:
            leading._beat()
            time.sleep(0.02)
        leading.answer("join", lambda: b"this")
        assert asked.result(5) == b"this"


def test_a_stop_is_ahead_of_everybody() -> None:
    one, two = boards(2)
    assert not one.stop_at(7, True, 6)
    stops = [step for step in range(7, 60) if two.stop_at(step, False, 6)]
    assert stops == [24] and not two.stop_at(24, True, 7)


def test_beats_end_with_the_board() -> None:
    [one] = boards(1)
    one.begin()
    assert any(thread.name == "beats" for thread in threading.enumerate())
    one.close(hosts=True)
    assert not any(thread.name == "beats" for thread in threading.enumerate())

"""Curricula: the schedules as written, and mixes that cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curator.epochs.curriculum import Constant, Linear, Mix, Stage, Staged, curriculum_of
from curator.errors import RequestError

EASY, HARD = Mix(easy=1, medium=0, hard=0), Mix(easy=0, medium=0, hard=2)


def test_staged_by_default():
    ratios = [Staged().ratios(epoch, 10) for epoch in range(10)]
    assert ratios == [(0.7, 0.2, 0.1)] * 3 + [(0.2, 0.5, 0.3)] * 4 + [(0.1, 0.3, 0.6)] * 3
    assert [Staged().ratios(epoch, 3)[0] for epoch in range(3)] == [0.7, 0.2, 0.2]
    assert Staged().ratios(0, 1).easy == 0.7


def test_the_thirty_percent_are_exact():
    """In floating point 0.3 * 10 epochs can fall either way; here 3 of 10, 30 of 100 and 300 of 1000 are the same."""
    for num_epochs in (10, 100, 1000):
        first = [epoch for epoch in range(num_epochs) if Staged().ratios(epoch, num_epochs).easy == 0.7]
        assert len(first) == num_epochs * 3 // 10


def test_linear_runs_from_start_to_end():
    line = Linear(start=EASY, end=HARD)
    assert [line.ratios(epoch, 3) for epoch in range(3)] == [(1, 0, 0), (0.5, 0, 0.5), (0, 0, 1)]
    assert line.ratios(0, 1) == (1, 0, 0)


def test_constant_is_constant():
    assert {Constant(easy=1, medium=1, hard=2).ratios(epoch, 5) for epoch in range(5)} == {(0.25, 0.25, 0.5)}
    assert Constant().ratios(0, 1) == (1 / 3, 1 / 3, 1 / 3)


@given(st.sampled_from([Staged(), Linear(), Constant(), Constant(easy=0.1, medium=0.7, hard=0.3)]), st.integers(1, 40))
def test_ratios_are_shares(curriculum, num_epochs):
    for epoch in range(num_epochs):
        ratios = curriculum.ratios(epoch, num_epochs)
        assert sum(ratios) == pytest.approx(1) and min(ratios) >= 0
    for outside in (-1, num_epochs):
        with pytest.raises(RequestError, match=f"epoch {outside} is outside"):
            curriculum.ratios(outside, num_epochs)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Constant(easy=-1),
        lambda: Constant(easy=0, medium=0, hard=0),
        lambda: Constant(easy=float("nan")),
        lambda: Constant(easi=1),
        lambda: Mix(easy=0, medium=0, hard=0),
        lambda: Staged(stages=()),
        lambda: Staged(stages=(Stage(until=0.5, easy=1, medium=0, hard=0),)),
        lambda: Staged(stages=tuple(Stage(until=u, easy=1, medium=0, hard=0) for u in (0.7, 0.3, 1))),
    ],
)
def test_mixes_that_cannot_be(build):
    with pytest.raises(ValidationError):
        build()


def test_by_name_by_fields_or_itself():
    assert curriculum_of("linear") == Linear() == curriculum_of({"kind": "linear"}) == curriculum_of(Linear())
    for wrong in ("random", {"kind": "constant", "easy": -1}, {}):
        with pytest.raises(RequestError, match="Known: staged, constant, linear"):
            curriculum_of(wrong)

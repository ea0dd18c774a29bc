"""The gate: what a step may cost, to the edge; what cannot be compared does not pass."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipelines.training.compress.gate import passed


def test_up_to_the_allowed_share_and_not_beyond() -> None:
    assert passed(0.8, 0.792, 0.0101).kept
    assert not passed(0.8, 0.792, 0.0099).kept
    assert passed(0.8, 0.8, 0.0).kept and passed(0.8, 0.9, 0.0).kept


def test_a_refusal_tells_the_figures() -> None:
    verdict = passed(0.8, 0.6, 0.01)
    assert verdict.why == "rolled back: accuracy 0.6000 after 0.8000: -25.00%, only -1.00% allowed"


@pytest.mark.parametrize(("before", "after", "finite"), [(0.8, math.nan, True), (0.0, 0.0, True), (0.8, 0.9, False)])
def test_what_cannot_be_compared_is_rolled_back(before: float, after: float, finite: bool) -> None:
    assert not passed(before, after, 0.5, finite=finite).kept


@given(some.floats(0.01, 1), some.floats(0, 1), some.floats(0, 0.99))
def test_never_more_is_lost_than_allowed(before: float, after: float, allowed: float) -> None:
    assert passed(before, after, allowed).kept == ((before - after) / before <= allowed)

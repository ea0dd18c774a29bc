"""The adaptive curriculum: lawful ratios, more for what learns more, one answer for one report."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curator.epochs.adaptive import PARTS, Adaptive, Belief, Losses, best_shares
from curator.epochs.curriculum import Mix
from curator.errors import RequestError

LOSS = st.none() | st.floats(0, 20, allow_nan=False)
REPORTS = st.lists(st.builds(Losses, easy=LOSS, medium=LOSS, hard=LOSS), max_size=8)
RULES = st.builds(
    Adaptive, least=st.floats(0, 0.1), memory=st.floats(0, 1), evidence=st.floats(0.5, 500, allow_nan=False)
)
SEEN = st.tuples(*[st.floats(0, 300)] * 3)


def beliefs(rule, reports):
    return itertools.accumulate(reports, rule.learned, initial=Belief())


@given(RULES, REPORTS)
@settings(max_examples=150, deadline=None)
def test_ratios_are_lawful_after_any_reports(rule, reports):
    for belief in beliefs(rule, reports):
        mix = rule.mix(belief)
        values = np.array([mix.easy, mix.medium, mix.hard])
        assert sum(mix.shares) == 1 and abs(values.sum() - 1) < 1e-12
        assert (values >= rule.least - 1.5 / PARTS).all()
        assert np.array_equal(np.round(values * PARTS) / PARTS, values)
        assert Belief.model_validate_json(belief.model_dump_json()) == belief


@given(RULES, REPORTS)
@settings(max_examples=60, deadline=None)
def test_without_two_losses_of_each_nothing_is_learned(rule, reports):
    """The ratios leave the start only when every difficulty has shown a drop or the lack of one."""
    last = list(beliefs(rule, reports))[-1]
    if any(sum(r.by_difficulty[d] is not None for r in reports) < 2 for d in range(3)):
        assert rule.mix(last) == Mix(easy=0.7, medium=0.2, hard=0.1)


@given(SEEN, SEEN)
@settings(max_examples=150, deadline=None)
def test_the_best_is_the_best(taken, left):
    shares = best_shares(taken, left)
    assert abs(sum(shares) - 1) < 1e-9 and min(shares) >= 0
    assert best_shares((5, 5, 5), (9, 9, 9)) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    order = [1, 2, 0]
    turned = best_shares(tuple(taken[i] for i in order), tuple(left[i] for i in order))
    assert turned == pytest.approx([shares[i] for i in order])


def test_the_grid_agrees_with_drawing():
    """The slow twin: a million draws from the three posteriors."""
    taken, left = (9.0, 14.0, 3.0), (41.0, 36.0, 20.0)
    draws = np.random.default_rng(0).beta(1 + np.array(taken), 1 + np.array(left), (10**6, 3))
    found = np.bincount(draws.argmax(axis=1), minlength=3) / 10**6
    assert best_shares(taken, left) == pytest.approx(found, abs=3e-3)


@given(RULES, st.tuples(*[st.floats(0.1, 0.9)] * 3), st.integers(0, 2), st.floats(0.02, 0.5))
@settings(max_examples=100, deadline=None)
def test_a_difficulty_that_learns_more_gets_no_less(rule, kept, which, more):
    assume(kept[which] - more > 0)

    def mix(shares):
        belief = rule.learned(Belief(), Losses(easy=1, medium=1, hard=1))
        belief = rule.learned(belief, Losses(**dict(zip(("easy", "medium", "hard"), shares, strict=True))))
        return [float(share) for share in rule.mix(belief).shares]

    better = tuple(k - more if d == which else k for d, k in enumerate(kept))
    assert mix(better)[which] >= mix(kept)[which] - 1.5 / PARTS


def test_a_drop_on_the_hard_rows_alone_draws_hard_rows():
    rule, belief = Adaptive(), Belief()
    for number in range(4):
        belief = rule.learned(belief, Losses(easy=0.1, medium=0.5, hard=2.0 * 0.7**number))
    mix = rule.mix(belief)
    assert mix.hard > 0.5 and mix.easy >= rule.least - 1 / PARTS and mix.medium >= rule.least - 1 / PARTS


def test_old_reports_fade():
    rule, belief = Adaptive(memory=0.5), Belief()
    for loss in (2.0, 1.0, 0.5):
        belief = rule.learned(belief, Losses(easy=1, medium=1, hard=loss))
    early = rule.mix(belief).hard
    for loss in (0.9, 0.8, 0.7, 0.6):
        belief = rule.learned(belief, Losses(easy=loss, medium=1, hard=0.5))
    assert rule.mix(belief).hard < early and rule.mix(belief).easy > rule.mix(belief).hard


def test_losses_of_rows():
    found = Losses.of_rows(["easy", None, "hard", "easy"], [1.0, 99.0, 4.0, 2.0])
    assert found == Losses(easy=1.5, hard=4.0)
    for names, values, word in [
        (["easy"], [1.0, 2.0], "1 difficulties with 2 losses"),
        (["eazy"], [1.0], "'eazy' is not one of easy, medium, hard"),
        (["easy", "hard"], [1.0, float("nan")], "row 1 has loss nan"),
        (["easy"], [-1.0], "row 0 has loss -1"),
    ]:
        with pytest.raises(RequestError, match=word):
            Losses.of_rows(names, values)


def test_what_is_refused():
    for fields in ({"least": 0.2}, {"memory": 1.1}, {"evidence": 0}, {"least": 0.4}, {"gain": 1}):
        with pytest.raises(ValidationError):
            Adaptive.model_validate(fields)

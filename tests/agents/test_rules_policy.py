"""Rules taken at their word: the first that fired gives the reason, and scores agree with actions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.rules_policy import rules_decide
from curator.verdict import DROP, KEEP


def test_the_first_rule_gives_the_reason() -> None:
    fired = {"short": np.array([True, False, False, True]), "copy": np.array([True, True, False, False])}
    decisions = rules_decide(fired, np.array([0.4, np.nan, -0.8, 2.0], np.float32))
    assert decisions.actions.tolist() == [DROP, DROP, KEEP, DROP]
    assert decisions.reasons.tolist() == [0, 1, -1, 0]
    assert decisions.label_score[3] < decisions.label_score[0] < 0.5 < decisions.label_score[2]
    assert decisions.label_score[1] == 0.0


def test_no_rules_keep_everything() -> None:
    decisions = rules_decide({}, np.full(3, np.nan, np.float32))
    assert decisions.actions.tolist() == [KEEP] * 3 and decisions.label_score.tolist() == [1.0] * 3
    assert len(rules_decide({}, np.zeros(0, np.float32)).actions) == 0


@given(st.lists(st.tuples(st.booleans(), st.floats(width=32, allow_nan=True, allow_infinity=True))))
def test_scores_agree_with_actions_and_stay_in_range(rows: list[tuple[bool, float]]) -> None:
    dropped = np.array([row[0] for row in rows], bool)
    score = rules_decide({"x": dropped}, np.array([row[1] for row in rows], np.float32)).label_score
    assert ((score >= 0) & (score <= 1)).all()
    assert (score[dropped] < 0.5).all() and (score[~dropped] >= 0.5).all()

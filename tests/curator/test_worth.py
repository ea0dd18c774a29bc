"""What knowing a row's truth adds, case by case: the mean over what may be true, better action known minus chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.verdict import DROP, KEEP, RELABEL
from curator.worth import RIGHT, WRONG, verdict_worth


@given(st.sampled_from([KEEP, DROP, RELABEL]), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_it_is_the_rise_over_both_truths(action: int, bad: float, proposal_wrong: float, labelled: bool) -> None:
    wrong = proposal_wrong if labelled and action == RELABEL else bad
    unasked = 0.0 if action == DROP else (1 - wrong) * RIGHT + wrong * WRONG
    asked = RIGHT if labelled else (1 - bad) * RIGHT
    [worth] = verdict_worth(np.array([action]), np.array([bad]), np.array([proposal_wrong]), labelled=labelled)
    assert worth == pytest.approx(asked - unasked) and worth >= 0


def test_no_rows_and_no_judgement() -> None:
    none, unknown = np.zeros(0), np.full(1, np.nan)
    assert len(verdict_worth(none, none, none, labelled=True)) == 0
    assert np.isnan(verdict_worth(np.array([KEEP]), unknown, unknown, labelled=True)).all()

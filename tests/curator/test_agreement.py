"""Cohen's kappa against published figures, and what it must be by definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from curator.agreement import cohens_kappa, raw_agreement

ANSWERS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40)


def test_the_textbooks_grant_panel() -> None:
    """50 proposals, both yes 20, both no 15, one yes 5 and 10: p0 = 0.7, pe = 0.5, kappa = 0.4."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert raw_agreement(pairs) == pytest.approx(0.7)
    assert cohens_kappa(pairs) == pytest.approx(0.4)


@given(ANSWERS)
def test_as_scikit_learn_counts_it(pairs: list[tuple[str, str]]) -> None:
    found = cohens_kappa(pairs)
    if found is None:
        assert len({answer for pair in pairs for answer in pair}) == 1
    else:
        assert found == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


@given(ANSWERS)
def test_who_is_named_first_changes_nothing(pairs: list[tuple[str, str]]) -> None:
    swapped = [(b, a) for a, b in pairs]
    assert cohens_kappa(pairs) == pytest.approx(cohens_kappa(swapped)) or cohens_kappa(pairs) is None


def test_nothing_is_said_of_nothing() -> None:
    assert (raw_agreement([]), cohens_kappa([])) == (None, None)
    assert (raw_agreement([(1, 1)] * 3), cohens_kappa([(1, 1)] * 3)) == (1.0, None)

"""The review queue asks first where a verdict changes most, never twice, and keeps its uniform share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents.review import expected_finds, review_order
from agents.student import Desk, Student
from agents.types import Rows


@pytest.fixture(scope="module")
def case(make_pool: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray, Student, Student]:
    """(truth, bad, a student without a trusted row, one taught by 100) of 600 rows."""
    pool = make_pool(600, noise=0.25)
    order = np.argsort([row.tobytes() for row in pool.rows.ids])
    rows: Rows = pool.rows.take(order)
    truth = pool.truth[order]
    desk = Desk.lay(rows, 3, can_relabel=True, seed=0)
    at = np.sort(np.random.default_rng(0).permutation(600)[:100])
    return truth, rows.labels != truth, Student.untaught(desk), Student.taught(desk, at, truth[at])


def test_wrong_labels_come_first(case: tuple[np.ndarray, np.ndarray, Student, Student]) -> None:
    _, bad, *students = case
    for student in students:
        order = review_order(student, student.prior, np.ones(600, bool), 100, 0, uniform_share=0.0)
        assert len(np.unique(order)) == 100 and bad[order].mean() > 2.5 * bad.mean()


def test_only_open_rows_are_asked_about_and_a_share_of_them_uniformly(
    case: tuple[np.ndarray, np.ndarray, Student, Student],
) -> None:
    *_, taught = case
    open_rows = np.arange(600) % 3 > 0
    order = review_order(taught, taught.prior, open_rows, 100, 0, uniform_share=0.5)
    assert len(np.unique(order)) == 100 and open_rows[order].all()
    again = review_order(taught, taught.prior, open_rows, 100, 1, uniform_share=0.5)
    assert np.array_equal(order[:50], again[:50]) and not np.array_equal(order[50:], again[50:])
    everyone = review_order(taught, taught.prior, open_rows, 10_000, 0)
    assert sorted(everyone) == np.flatnonzero(open_rows).tolist()


def test_what_the_next_verdicts_will_find_is_foretold(case: tuple[np.ndarray, np.ndarray, Student, Student]) -> None:
    _, bad, _, taught = case
    everyone = np.ones(600, bool)
    found = bad[review_order(taught, taught.prior, everyone, 100, 0, uniform_share=0.0)].mean()
    told = expected_finds(taught, taught.prior, everyone)
    assert told is not None and abs(told - found) < 0.2
    assert expected_finds(taught, taught.prior, ~everyone) is None


def test_a_row_about_to_be_mended_is_worth_less(case: tuple[np.ndarray, np.ndarray, Student, Student]) -> None:
    *_, taught = case
    _, relabel = (values.numpy() for values in taught.prior.beliefs(taught.seen))
    sure = np.argsort(-relabel)[:20]
    place = [
        np.argsort(review_order(taught, taught.prior, np.ones(600, bool), 600, 0, relabel_from=at, uniform_share=0.0))
        for at in (float("inf"), float(relabel[sure].min()))
    ]
    assert place[1][sure].mean() > place[0][sure].mean() + 50

"""The audit: every trusted row as a judge sees it that was taught without it, so the same rows teach and vouch.

Cross-fitting outside the judge: trusted rows fall into folds by a hash of their id; a student is taught by the truths
of the other folds and looks at the fold's rows as at any stranger. Thresholds, promises and the scorecard hang on
these numbers alone. Knows students; nothing of thresholds or of what is promised.

Legend: T trusted rows, ascending by id; A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.determinism import id_uniform
from agents.learned_policy import LearnedPolicy
from agents.student import Desk, Student

__all__ = ["NUM_AUDIT_FOLDS", "Apart", "Audit", "taught_apart"]

NUM_AUDIT_FOLDS: Final = 5
MAX_APART_ROWS: Final = 8_192
"""Rows beside the trusted ones that a fold's student learns from; ids are hashes, so the first are a fair sample."""


@dataclass(frozen=True)
class Apart:
    """A student taught without one fold. at_H: its desk's positions of the fold's trusted rows; in_T: bool[T]."""

    student: Student
    at_H: np.ndarray
    in_T: np.ndarray


@dataclass(frozen=True)
class Audit:
    """T trusted rows. given_T, truth_T, proposal_T: label codes. badness_T: P(not keep). relabel_T: π(relabel).

    All by a policy that never saw the row's truth.
    """

    given_T: np.ndarray
    truth_T: np.ndarray
    badness_T: np.ndarray
    relabel_T: np.ndarray
    proposal_T: np.ndarray

    @property
    def bad_T(self) -> np.ndarray:
        return self.given_T != self.truth_T

    @staticmethod
    def of(student: Student, policy: LearnedPolicy, at: np.ndarray, truth_T: np.ndarray) -> Audit:
        """The rows at `at` of the student's desk, whose truths it must not know."""
        badness, relabel = (values.numpy()[at] for values in policy.beliefs(student.seen))
        proposal = student.seen.proposal_B.numpy()[at]
        return Audit(student.desk.rows.labels[at], truth_T, badness, relabel, proposal)

    @staticmethod
    def cross_fitted(
        parts: Sequence[Apart], policy_of: Callable[[Student], LearnedPolicy], truth_T: np.ndarray
    ) -> Audit:
        """All folds together; policy_of: what each fold's student would ship."""
        columns = {name: np.zeros(len(truth_T), kind) for name, kind in _COLUMNS.items()}
        for part in parts:
            mine = Audit.of(part.student, policy_of(part.student), part.at_H, truth_T[part.in_T])
            for name, column in columns.items():
                column[part.in_T] = getattr(mine, name)
        return Audit(**columns)


_COLUMNS: Final = {
    "given_T": np.int64,
    "truth_T": np.int64,
    "badness_T": np.float32,
    "relabel_T": np.float32,
    "proposal_T": np.int64,
}


def taught_apart(desk: Desk, at_T: np.ndarray, truth_T: np.ndarray, seed: int) -> list[Apart]:
    """One student for each fold that has a row; a row's fold does not change when others join."""
    fold_T = (id_uniform(desk.rows.ids[at_T], seed, "audit") * NUM_AUDIT_FOLDS).astype(np.int64)
    small, at_T = _bounded(desk, at_T)
    return [
        Apart(
            Student.taught(small, at_T[fold_T != fold], truth_T[fold_T != fold]), at_T[fold_T == fold], fold_T == fold
        )
        for fold in np.unique(fold_T)
    ]


def _bounded(desk: Desk, at_T: np.ndarray) -> tuple[Desk, np.ndarray]:
    if len(desk.rows) <= MAX_APART_ROWS + len(at_T):
        return desk, at_T
    chosen = np.union1d(np.arange(MAX_APART_ROWS), at_T)
    return desk.part(chosen), np.searchsorted(chosen, at_T)

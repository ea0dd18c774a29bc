"""Whom to ask next: rows in the order in which a person's verdict is worth most.

A queue, not a list: each batch of verdicts teaches the judge, which orders the next. Knows a student and its policy;
nothing of people, queues or what they cost.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from agents.determinism import id_uniform
from agents.judge import acted
from agents.learned_policy import LearnedPolicy
from agents.student import Student
from curator.worth import verdict_worth

__all__ = ["NEXT_ROWS", "UNIFORM_SHARE", "expected_finds", "review_order"]

NEXT_ROWS: Final = 100

UNIFORM_SHARE: Final = 0.2
_LEANING_ROWS: Final = 200.0
"""With as many verdicts the queue leans half on what they taught and half on self-corruption, which needs none."""


def review_order(
    student: Student,
    policy: LearnedPolicy,
    open_N: np.ndarray,
    budget: int,
    seed: int,
    *,
    relabel_from: float = math.inf,
    drop_above: float | np.ndarray = math.inf,
    uniform_share: float = UNIFORM_SHARE,
) -> np.ndarray:
    """Positions of the rows whose truth is worth most to know, best first, int64[≤ budget]; then the uniform ones.

    open_N: rows that may be asked about. relabel_from, drop_above (one, or float64[N]): where proposals are written and
    rows dropped unasked. The uniform share keeps the audit honest about rows the policy is sure of.
    """
    lean = _LEANING_ROWS / (_LEANING_ROWS + len(student.at_T))
    worth = (1 - lean) * _ranks(_worth(student, policy, relabel_from, drop_above)) + lean * _ranks(
        student.seen.anchor_B.numpy()
    )
    budget = min(budget, int(open_N.sum()))
    uniform = round(uniform_share * budget)
    best = np.argsort(-np.where(open_N, worth, -np.inf), kind="stable")[: budget - uniform]
    draws = np.where(open_N, id_uniform(student.desk.rows.ids, seed, "review"), np.inf)
    draws[best] = np.inf
    return np.concatenate([best, np.argsort(draws, kind="stable")[:uniform]])


def expected_finds(student: Student, policy: LearnedPolicy, open_N: np.ndarray) -> float | None:
    """Share of the next NEXT_ROWS rows that the judge expects to be wrong: below what a verdict is worth, stop asking.

    None where no row is open.
    """
    order = review_order(student, policy, open_N, NEXT_ROWS, 0, uniform_share=0.0)
    return float(policy.badness(student.seen).numpy()[order].mean()) if len(order) else None


def _worth(student: Student, policy: LearnedPolicy, relabel_from: float, drop_above: float | np.ndarray) -> np.ndarray:
    """What knowing each row's truth adds to what the policy would do with it unasked, float64[N]."""
    badness, relabel = (values.numpy() for values in policy.beliefs(student.seen))
    actions = acted(badness, relabel, np.asarray(drop_above), relabel_from)
    return verdict_worth(actions, badness, 1 - relabel, labelled=student.desk.can_relabel)


def _ranks(values: np.ndarray) -> np.ndarray:
    """In [0, 1), highest last."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values)) / max(len(values), 1)
    return ranks

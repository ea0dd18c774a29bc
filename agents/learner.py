"""Teaching a judge: audit apart, improvement, gate, teaching by all, promises; the order of the steps keeps it honest.

Knows rows and truths; nothing of where they lie or who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from agents.audit import Apart, Audit, taught_apart
from agents.determinism import id_keys, one_thread
from agents.gate import GateVerdict, compare
from agents.judge import Judge, Mind, as_task
from agents.learned_policy import LearnedPolicy
from agents.promise import make_promise
from agents.scorecard import scorecard
from agents.student import Desk, Round, Student
from agents.types import Rows, Task
from curator.errors import InputError, TrustedError
from curator.recipe.policy import PolicySpec

__all__ = ["MAX_ROWS", "MIN_LEARNING", "MIN_ROWS", "Judge", "learn"]

MAX_ROWS: Final = 50_000
MIN_ROWS: Final = 50
MIN_LEARNING: Final = 16
"""Fewer trusted rows teach less than self-corruption does; those there are vouch."""


def learn(
    rows: Rows, truth: np.ndarray, *, classes: int, task: Task, config: PolicySpec | None = None, seed: int = 0
) -> Judge:
    """A judge from a bounded sample that includes all trusted rows; the order of the rows does not matter.

    truth: int64[n], the true label's code, for text 1 = keep and 0 = drop; -1 = not trusted. classes: number of label
    codes; ignored for text. Single-threaded and deterministic. Raises InputError on too few or too many rows,
    TrustedError on a truth that is no label's code.
    """
    config = config or PolicySpec()
    classes = classes if task == "classification" else 2
    _check(rows, truth, classes)
    everyone = as_task(rows, task)
    with one_thread():
        usable = np.flatnonzero(everyone.valid & (everyone.labels >= 0))
        usable = usable[np.argsort(id_keys(rows.ids[usable]))]
        _check_usable(len(usable), len(rows))
        desk = Desk.lay(everyone.take(usable), classes, can_relabel=task == "classification", seed=seed)
        return _teach(desk, truth[usable], rows, truth, task, config, seed)


def _teach(
    desk: Desk, desk_truth: np.ndarray, rows: Rows, truth: np.ndarray, task: Task, config: PolicySpec, seed: int
) -> Judge:
    at_T = np.flatnonzero(desk_truth >= 0)
    truth_T = desk_truth[at_T]
    gate: GateVerdict | None = None
    rounds: list[Round] = []
    if len(at_T) >= MIN_LEARNING:
        apart = taught_apart(desk, at_T, truth_T, seed)
        if config.rounds:
            gate, rounds = _rehearse(apart[0], truth_T, config, seed)
        ship = _learned(config.rounds) if gate is not None and gate.passed else _prior
        audit = Audit.cross_fitted(apart, ship, truth_T)
        student = Student.taught(desk, at_T, truth_T)
        policy = ship(student)
    else:
        student = Student.untaught(desk)
        policy = student.prior
        audit = Audit.of(student, policy, at_T, truth_T)
    promise = make_promise(student, policy, audit, config)
    trusted = np.flatnonzero(truth >= 0)
    trusted = trusted[np.argsort(id_keys(rows.ids[trusted]))]
    mind = Mind(
        student.observer,
        policy,
        torch.tensor(promise.drop_above, dtype=torch.float64),
        promise.relabel_from,
        torch.from_numpy(rows.ids[trusted]),
        torch.from_numpy(truth[trusted].astype(np.int64)),
    )
    return Judge(mind, task, scorecard(student, policy, desk_truth, audit, gate, rounds, promise, config, seed))


def _rehearse(apart: Apart, truth_T: np.ndarray, config: PolicySpec, seed: int) -> tuple[GateVerdict, list[Round]]:
    """The first fold's rows, which its student never saw, compare its prior with what it made of it."""
    improved, rounds = apart.student.improved(config.rounds)
    before, after = (
        Audit.of(apart.student, policy, apart.at_H, truth_T[apart.in_T]) for policy in (apart.student.prior, improved)
    )
    return compare(before.badness_T, after.badness_T, before.bad_T, seed), rounds


def _prior(student: Student) -> LearnedPolicy:
    return student.prior


def _learned(rounds: int) -> Callable[[Student], LearnedPolicy]:
    return lambda student: student.improved(rounds)[0]


def _check(rows: Rows, truth: np.ndarray, classes: int) -> None:
    if len(rows) > MAX_ROWS:
        raise InputError(f"{len(rows)} rows to learn from, at most {MAX_ROWS} fit; pass a sample with all trusted rows")
    if truth.shape != (len(rows),):
        raise InputError(
            f"truth has shape {list(truth.shape)} for {len(rows)} rows; give one code per row, -1 = untrusted"
        )
    for name, codes, error in (("truth", truth, TrustedError), ("labels", rows.labels, InputError)):
        wrong = np.flatnonzero((codes < -1) | (codes >= classes))
        if len(wrong):
            raise error(
                f"{name} of row {wrong[0]} is code {codes[wrong[0]]}, outside the {classes} known; fix the labels"
            )
    if len(np.unique(id_keys(rows.ids))) != len(rows):
        raise InputError("a sample id occurs twice among the rows to learn from; ids must be unique")


def _check_usable(num_usable: int, num_rows: int) -> None:
    if num_usable < MIN_ROWS:
        raise InputError(
            f"only {num_usable} of {num_rows} rows have content and a label, a learned policy needs {MIN_ROWS}; "
            "give more rows or set policy.kind to rules"
        )

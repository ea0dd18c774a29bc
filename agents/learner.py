"""Teaching a judge: prior, improvement, gate, refit, promises; the order of the steps is the protection against leaks.

Knows rows and truths; nothing of where they lie or who asks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from agents.determinism import id_keys, id_uniform, one_thread
from agents.gate import GateVerdict, compare
from agents.judge import Judge, Mind, as_task
from agents.promise import make_promise
from agents.scorecard import scorecard
from agents.student import Desk, Round, Student
from agents.types import Roles, Rows, Task
from curator.errors import InputError, TrustedError
from curator.recipe.policy import PolicySpec

__all__ = ["MAX_ROWS", "MIN_LEARNING", "MIN_ROWS", "Judge", "learn", "roles_of"]

MAX_ROWS: Final = 50_000
MIN_ROWS: Final = 50
MIN_LEARNING: Final = 16
"""Fewer trusted-learning rows teach less than self-corruption does."""
LEARNING_SHARE, CALIBRATION_SHARE = 0.4, 0.4


def roles_of(ids: np.ndarray, trusted: np.ndarray, seed: int) -> Roles:
    """40/40/20 by hash of the sample id: a row's role does not change when others join. trusted: bool[n]."""
    u = id_uniform(ids, seed, "role")
    learning = trusted & (u < LEARNING_SHARE)
    calibration = trusted & (u >= LEARNING_SHARE) & (u < LEARNING_SHARE + CALIBRATION_SHARE)
    return Roles(*(np.flatnonzero(part) for part in (learning, calibration, trusted & ~learning & ~calibration)))


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
    roles = roles_of(desk.rows.ids, desk_truth >= 0, seed)
    gate: GateVerdict | None = None
    rounds: list[Round] = []
    if len(roles.learning) >= MIN_LEARNING:
        gate, rounds = _rehearse(desk, desk_truth, roles, config, seed)
        student = Student.taught(desk, roles.taught, desk_truth[roles.taught])
        policy = student.improved(config.rounds)[0] if gate.passed else student.prior
    else:
        roles = Roles.all_for_calibration(desk_truth >= 0)
        student = Student.untaught(desk)
        policy = student.prior
    promise = make_promise(student, policy, desk_truth, roles.calibration, config)
    trusted = np.flatnonzero(truth >= 0)
    trusted = trusted[np.argsort(id_keys(rows.ids[trusted]))]
    mind = Mind(
        student.observer,
        policy,
        promise.drop_above,
        promise.relabel_from,
        torch.from_numpy(rows.ids[trusted]),
        torch.from_numpy(truth[trusted].astype(np.int64)),
    )
    return Judge(mind, task, scorecard(student, policy, desk_truth, roles, gate, rounds, promise, config, seed))


def _rehearse(
    desk: Desk, desk_truth: np.ndarray, roles: Roles, config: PolicySpec, seed: int
) -> tuple[GateVerdict, list[Round]]:
    """Teaches a student on learning rows alone; acceptance rows compare its prior with what it made of it."""
    student = Student.taught(desk, roles.learning, desk_truth[roles.learning])
    improved, rounds = student.improved(config.rounds)
    at = roles.acceptance
    bad = desk.rows.labels[at] != desk_truth[at]
    prior, learned = (policy.badness(student.seen).numpy()[at] for policy in (student.prior, improved))
    return compare(prior, learned, bad, seed), rounds


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

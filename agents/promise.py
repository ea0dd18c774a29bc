"""The promise behind the two thresholds: what may be dropped and relabelled, and on what evidence.

Knows a student's ranking and the calibration rows; decides no row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch

from agents.calibration import (
    binomial_upper,
    crc_threshold,
    fdr_threshold,
    ltt_threshold,
    needed_good_rows,
    precision_threshold,
)
from agents.learned_policy import LearnedPolicy
from agents.reward import BREAK_EVEN
from agents.student import Student
from curator.recipe.policy import PolicySpec
from curator.verdict import RELABEL

__all__ = ["CALIBRATION_SHARE", "Promise", "make_promise"]

CALIBRATION_SHARE: Final = 0.4
"""Share of trusted rows that calibrate."""

Basis = Literal["audited", "simulated", "refused"]


@dataclass(frozen=True)
class Promise:
    """drop_above, relabel_from: thresholds, infinity = never. basis: calibration rows, injected errors, or neither.

    good_rows: good calibration rows (or known-good rows of the simulation). crc, ltt: thresholds of conformal risk
    control and learn-then-test at alpha. false_drop: share of the good calibration rows above drop_above;
    false_drop_upper: its Clopper–Pearson bound at 90%. missing_rows: how many more trusted rows the promise needs, 0
    when it holds.
    """

    basis: Basis
    good_rows: int
    drop_above: float
    relabel_from: float
    crc: float
    ltt: float
    false_drop: float | None
    false_drop_upper: float | None
    missing_rows: int


def make_promise(
    student: Student, policy: LearnedPolicy, truth_N: np.ndarray, calibration_at: np.ndarray, config: PolicySpec
) -> Promise:
    """The lowest thresholds that keep config's promises; never lower than where a row is worth dropping.

    truth_N: int64[N], -1 = untrusted. calibration_at: positions no part of the policy has seen.
    """
    badness = policy.badness(student.seen).numpy()
    given = student.desk.rows.labels
    good_at = calibration_at[given[calibration_at] == truth_N[calibration_at]]
    scores, basis = badness[good_at], "audited"
    crc = crc_threshold(scores, config.max_false_drop)
    if not (truth_N >= 0).any():
        scores, basis = _simulated(student, policy), "simulated"
        crc = max(crc_threshold(scores, config.max_false_drop), _worst_share(badness, config.max_false_drop))
    drop_above = max(crc, BREAK_EVEN)
    if math.isinf(crc):
        return Promise(
            "refused", len(scores), math.inf, math.inf, crc, math.inf, None, None, _missing(len(good_at), config)
        )
    exceeding = int((scores > drop_above).sum())
    return Promise(
        "audited" if basis == "audited" else "simulated",
        len(scores),
        drop_above,
        _relabel_from(student, policy, truth_N, calibration_at, config),
        crc,
        ltt_threshold(scores, config.max_false_drop),
        exceeding / len(scores),
        binomial_upper(exceeding, len(scores)),
        0 if basis == "audited" else _missing(0, config),
    )


def _relabel_from(
    student: Student, policy: LearnedPolicy, truth_N: np.ndarray, calibration_at: np.ndarray, config: PolicySpec
) -> float:
    """The higher of two thresholds: false discovery rate over the pool, and precision on the calibration rows.

    Null: calibration rows whose proposal is wrong. Candidates: the untrusted rows learned from, a sample of the pool.
    """
    if not student.desk.can_relabel or not len(calibration_at):
        return math.inf
    score = policy.log_probs(student.seen)[:, RELABEL].exp().numpy()
    wrong = student.seen.proposal_B.numpy()[calibration_at] != truth_N[calibration_at]
    right_scores, wrong_scores = score[calibration_at[~wrong]], score[calibration_at[wrong]]
    return max(
        fdr_threshold(wrong_scores, score[truth_N < 0], config.relabel_fdr),
        precision_threshold(right_scores, wrong_scores, config.relabel_fdr),
    )


def _worst_share(badness_N: np.ndarray, alpha: float) -> float:
    """The score that at most a share alpha of all rows exceeds: whatever those rows are, no more good ones are lost."""
    return float(np.sort(badness_N)[::-1][math.floor(alpha * len(badness_N))])


def _simulated(student: Student, policy: LearnedPolicy) -> np.ndarray:
    """Badness that rows left as they were get amid injected errors: the prior's shift applied to their log-odds."""
    good = student.desk.corruption.good_scores_M
    shift = policy.prior_F1[-1] - student.observer.mean_F[-1]
    return torch.sigmoid(good + shift).numpy()


def _missing(good_rows: int, config: PolicySpec) -> int:
    """How many more trusted rows would do if all were good."""
    return max(0, math.ceil((needed_good_rows(config.max_false_drop) - good_rows) / CALIBRATION_SHARE))

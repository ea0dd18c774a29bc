"""The promise behind the thresholds: what may be dropped and relabelled, and on what evidence.

Knows a student's ranking and the audit; decides no row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch

from agents.audit import Audit
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

__all__ = ["Promise", "make_promise"]

NEVER: Final = math.inf

Basis = Literal["audited", "simulated", "refused"]


@dataclass(frozen=True)
class Promise:
    """drop_above: one threshold, or one for each given label. relabel_from: the same of π(relabel). Infinity = never.

    basis: the audit, injected errors, or neither.
    good_rows: good rows of the audit (or known-good rows of the simulation). crc, ltt: thresholds of conformal risk
    control and learn-then-test at alpha. false_drop: share of the good audit rows that the thresholds drop;
    false_drop_upper: its Clopper–Pearson bound at 90%. missing_rows: how many more trusted rows the promise needs, 0
    when it holds.
    """

    basis: Basis
    good_rows: int
    drop_above: tuple[float, ...]
    relabel_from: float
    crc: float
    ltt: float
    false_drop: float | None
    false_drop_upper: float | None
    missing_rows: int


def make_promise(student: Student, policy: LearnedPolicy, audit: Audit, config: PolicySpec) -> Promise:
    """The lowest thresholds that keep config's promises; never lower than where a row is worth dropping."""
    if not len(audit.truth_T):
        return _simulated(student, policy, config)
    good = ~audit.bad_T
    scores_M, labels_M = audit.badness_T[good], audit.given_T[good]
    crc = crc_threshold(scores_M, config.max_false_drop)
    ltt = ltt_threshold(scores_M, config.max_false_drop, config.confidence or 0.9)
    groups = (
        [labels_M == label for label in range(len(student.desk.given.typical_C))] if config.per_class else [good[good]]
    )
    drop_above = np.array([max(_threshold(scores_M[group], config), BREAK_EVEN) for group in groups])
    missing = max(_missing(int(group.sum()), float(good.mean()), config) for group in groups)
    if np.isinf(drop_above).all():
        return Promise("refused", len(scores_M), (NEVER,), NEVER, crc, ltt, None, None, max(1, missing))
    exceeding = int((scores_M > (drop_above[labels_M] if config.per_class else drop_above)).sum())
    return Promise(
        "audited",
        len(scores_M),
        tuple(map(float, drop_above)),
        _relabel_from(student, policy, audit, config),
        crc,
        ltt,
        exceeding / len(scores_M),
        binomial_upper(exceeding, len(scores_M)),
        missing,
    )


def _threshold(good_scores: np.ndarray, config: PolicySpec) -> float:
    if config.confidence == 0:
        return crc_threshold(good_scores, config.max_false_drop)
    return ltt_threshold(good_scores, config.max_false_drop, config.confidence)


def _simulated(student: Student, policy: LearnedPolicy, config: PolicySpec) -> Promise:
    """From rows left as they were amid injected errors: the prior's shift applied to their log-odds."""
    good = student.desk.corruption.good_scores_M
    shift = policy.prior_F1[-1] - student.observer.mean_F[-1]
    scores = torch.sigmoid(good + shift).numpy()
    badness = policy.badness(student.seen).numpy()
    worst = _worst_share(badness, config.max_false_drop)
    crc = max(crc_threshold(scores, config.max_false_drop), worst)
    missing = _missing(0, 1.0, config)
    if math.isinf(crc):
        return Promise("refused", len(scores), (NEVER,), NEVER, crc, NEVER, None, None, missing)
    drop_above = max(crc, BREAK_EVEN)
    exceeding = int((scores > drop_above).sum())
    return Promise(
        "simulated",
        len(scores),
        (drop_above,),
        NEVER,
        crc,
        ltt_threshold(scores, config.max_false_drop),
        exceeding / len(scores),
        binomial_upper(exceeding, len(scores)),
        missing,
    )


def _relabel_from(student: Student, policy: LearnedPolicy, audit: Audit, config: PolicySpec) -> float:
    """The higher of two thresholds: false discovery rate over the pool, and precision on the audit.

    Null: audit rows whose proposal is wrong. Candidates: the rows learned from, a sample of the pool.
    """
    if not student.desk.can_relabel:
        return NEVER
    wrong = audit.proposal_T != audit.truth_T
    right_scores, wrong_scores = audit.relabel_T[~wrong], audit.relabel_T[wrong]
    pool = policy.log_probs(student.seen)[:, RELABEL].exp().numpy()
    return max(
        fdr_threshold(wrong_scores, pool, config.relabel_fdr),
        precision_threshold(right_scores, wrong_scores, config.relabel_fdr),
    )


def _worst_share(badness_N: np.ndarray, alpha: float) -> float:
    """The score that at most a share alpha of all rows exceeds: whatever those rows are, no more good ones are lost."""
    return float(np.sort(badness_N)[::-1][math.floor(alpha * len(badness_N))])


def _missing(good_rows: int, share_good: float, config: PolicySpec) -> int:
    """How many more trusted rows would do if as many of them were good."""
    short = needed_good_rows(config.max_false_drop, config.confidence) - good_rows
    return max(0, math.ceil(short / max(share_good, 0.05)))

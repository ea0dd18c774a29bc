"""Promises: how many good rows a threshold may cost, and which proposed labels may be written, from calibration rows.

Calibration rows are scored by a policy that never saw their truth. Knows scores and truths; nothing of how scores came
about.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

__all__ = [
    "binomial_upper",
    "crc_threshold",
    "fdr_threshold",
    "ltt_threshold",
    "needed_good_rows",
    "precision_threshold",
]

CONFIDENCE: Final = 0.9
"""1 - δ of the statement with probability (learn then test)."""


def needed_good_rows(alpha: float, confidence: float = 0.0) -> int:
    """The fewest good rows with which alpha < 1 can be promised: none of them may exceed the threshold.

    confidence: 0 for conformal risk control, on average over audits; else for learn then test.
    """
    if confidence == 0:
        return math.ceil(1 / alpha - 1e-9) - 1
    return math.ceil(math.log(1 - confidence) / math.log1p(-alpha) - 1e-9)


def crc_threshold(good_scores: np.ndarray, alpha: float) -> float:
    """The threshold t such that dropping rows with badness > t costs a good row with probability ≤ alpha, on average.

    good_scores: badness of good calibration rows, m of them; t is the ceil((m + 1)(1 - alpha))-th smallest (conformal
    risk control, Angelopoulos et al., ICLR 2024, for the 0/1 loss of a good row dropped). Infinity when m is too
    small: drop nothing.
    """
    m = len(good_scores)
    rank = math.ceil((m + 1) * (1 - alpha) - 1e-9)
    return float(np.sort(good_scores)[rank - 1]) if 1 <= rank <= m else math.inf


def ltt_threshold(good_scores: np.ndarray, alpha: float, confidence: float = CONFIDENCE) -> float:
    """The lowest threshold whose false-drop share is ≤ alpha with the given confidence; infinity when none is.

    Learn then test (Angelopoulos et al. 2021) with the exact binomial bound of Clopper & Pearson (1934), thresholds
    tested from the highest down.
    """
    ordered, m = np.sort(good_scores)[::-1], len(good_scores)
    best = math.inf
    for exceeding in range(m):
        if binomial_upper(exceeding, m, confidence) > alpha:
            break
        best = float(ordered[exceeding])
    return best


def binomial_upper(successes: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Clopper–Pearson upper bound of a probability: the p at which ≤ successes has probability 1 - confidence."""
    if trials == 0 or successes >= trials:
        return 1.0
    low, high = successes / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _binomial_cdf(successes, trials, middle) > 1 - confidence else (low, middle)
    return high


def precision_threshold(
    right_scores: np.ndarray, wrong_scores: np.ndarray, fdr: float, confidence: float = CONFIDENCE
) -> float:
    """The lowest score from which the share of wrong proposals is ≤ fdr with the given confidence; infinity for none.

    right_scores, wrong_scores: of calibration rows by whether their proposal is right. Learn then test in fixed
    sequence: from the fewest top rows that could pass without an error, downwards, until the first failure. Controls
    what a false discovery rate alone does not: the share of wrong labels when any are written.
    """
    if fdr <= 0:
        return math.inf
    scores = np.concatenate([right_scores, wrong_scores])
    order = np.argsort(-scores, kind="stable")
    num_wrong = np.cumsum(order >= len(right_scores))
    fewest, best = math.ceil(math.log(1 - confidence) / math.log1p(-fdr)), math.inf
    for taken in range(fewest, len(order) + 1):
        if binomial_upper(int(num_wrong[taken - 1]), taken, confidence) > fdr:
            break
        best = float(scores[order[taken - 1]])
    return best


def _binomial_cdf(successes: int, trials: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(p == 0.0)
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(i + 1)
        - math.lgamma(trials - i + 1)
        + i * math.log(p)
        + (trials - i) * math.log1p(-p)
        for i in range(successes + 1)
    ]
    return math.fsum(math.exp(value) for value in logs)


def fdr_threshold(wrong_scores: np.ndarray, candidate_scores: np.ndarray, fdr: float) -> float:
    """The score from which proposals may be written so that at most a share fdr of them is wrong; infinity for none.

    wrong_scores: scores of calibration rows whose proposal is wrong (the null). candidate_scores: of the rows in
    question. Conformal p-values (Bates et al. 2023; conformal selection of Jin & Candès 2023) under Benjamini &
    Hochberg (1995).
    """
    if fdr <= 0 or not len(candidate_scores):
        return math.inf
    nulls = np.sort(wrong_scores)
    ordered = np.sort(candidate_scores)[::-1]
    at_least = len(nulls) - np.searchsorted(nulls, ordered, side="left")
    p = (1.0 + at_least) / (1.0 + len(nulls))
    passing = np.flatnonzero(p <= fdr * np.arange(1, len(p) + 1) / len(p))
    return float(ordered[passing[-1]]) if len(passing) else math.inf

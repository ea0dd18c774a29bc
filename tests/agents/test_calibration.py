"""Promises hold over many draws, thresholds are what their formulas say, and too little evidence promises nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from agents.calibration import (
    binomial_upper,
    crc_threshold,
    fdr_threshold,
    ltt_threshold,
    needed_good_rows,
    precision_threshold,
)


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.1, 0.3])
def test_refuses_one_row_short(alpha: float) -> None:
    need = needed_good_rows(alpha)
    scores = np.random.default_rng(0).random(need)
    assert math.isfinite(crc_threshold(scores, alpha)) and math.isinf(crc_threshold(scores[:-1], alpha))
    assert math.isinf(crc_threshold(np.zeros(0), alpha))


@pytest.mark.parametrize(("successes", "trials"), [(0, 22), (3, 100), (40, 90), (89, 90), (90, 90)])
def test_binomial_bound_is_clopper_pearson(successes: int, trials: int) -> None:
    expected = 1.0 if successes == trials else beta.ppf(0.9, successes + 1, trials - successes)
    assert binomial_upper(successes, trials) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_false_drop_promises_over_many_audits(alpha: float) -> None:
    """CRC holds on average, LTT in at least 90% of the audits (within two standard errors of 600 draws)."""
    rng = np.random.default_rng(1)
    crc, ltt = np.zeros(600), np.zeros(600)
    for draw in range(600):
        audit = np.sort(rng.random(120))
        crc[draw] = 1 - crc_threshold(audit, alpha)
        ltt[draw] = max(0.0, 1 - ltt_threshold(audit, alpha))
    assert crc.mean() <= alpha + 2 * crc.std() / math.sqrt(600)
    assert crc.mean() > 0.8 * alpha
    assert (ltt > alpha).mean() <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 600)
    assert ltt.mean() > 0.2 * alpha


def test_relabels_are_rarely_wrong_over_many_audits() -> None:
    """Share of wrong labels among those written: on average ≤ fdr for BH, ≤ fdr in 90% of audits for the precision
    bound.
    """
    rng, fdr = np.random.default_rng(2), 0.1
    bh, shares, written = [], [], 0
    for _ in range(300):
        right = rng.random(2_000) < 0.3
        score = rng.normal(size=2_000) + 3.0 * right
        audit_right = rng.random(300) < 0.3
        audit = rng.normal(size=300) + 3.0 * audit_right
        chosen = score >= fdr_threshold(audit[~audit_right], score, fdr)
        bh.append((~right)[chosen].mean() if chosen.any() else 0.0)
        chosen = score >= precision_threshold(audit[audit_right], audit[~audit_right], fdr)
        written += bool(chosen.any())
        shares.append((~right)[chosen].mean() if chosen.any() else 0.0)
    assert np.mean(bh) <= fdr + 2 * np.std(bh) / math.sqrt(300)
    assert (np.array(shares) > fdr).mean() <= 0.1 + 2 * math.sqrt(0.09 / 300) and written > 250


def test_nothing_is_written_without_evidence() -> None:
    scores = np.linspace(0, 1, 50)
    assert math.isinf(fdr_threshold(scores, scores, 0.1))
    assert math.isinf(fdr_threshold(scores, np.zeros(0), 0.1)) and math.isinf(fdr_threshold(scores, scores + 9, 0.0))
    assert math.isinf(precision_threshold(np.ones(21), np.zeros(0), 0.1))
    assert precision_threshold(np.ones(22), np.zeros(0), 0.1) == 1.0
    assert math.isinf(precision_threshold(np.ones(100), np.zeros(0), 0.0))

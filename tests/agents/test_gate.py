"""The gate lets a clearly better ranking pass and nothing else; average precision is the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from agents.gate import average_precision, compare


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score, bad, weights = rng.integers(0, 12, 80) / 12.0, rng.random(80) < 0.3, rng.random(80)
    assert average_precision(score, bad) == pytest.approx(average_precision_score(bad, score))
    expected = average_precision_score(bad, score, sample_weight=weights)
    assert average_precision(score, bad, weights) == pytest.approx(expected)


def test_only_a_better_policy_passes() -> None:
    rng = np.random.default_rng(0)
    bad = rng.random(200) < 0.2
    weak, strong = bad + 1.5 * rng.normal(size=200), bad + 0.3 * rng.normal(size=200)
    assert compare(weak, strong, bad, 0).passed
    assert not compare(strong, weak, bad, 0).passed
    assert not compare(strong, strong, bad, 0).passed
    assert compare(weak, strong, bad, 0) == compare(weak, strong, bad, 0)


def test_lucky_noise_seldom_passes() -> None:
    rng = np.random.default_rng(1)
    passed = 0
    for seed in range(40):
        bad = rng.random(80) < 0.2
        shared = bad + rng.normal(size=80)
        passed += compare(shared + 0.3 * rng.normal(size=80), shared + 0.3 * rng.normal(size=80), bad, seed).passed
    assert passed <= 6


def test_without_a_bad_row_nothing_passes() -> None:
    verdict = compare(np.zeros(9), np.arange(9.0), np.zeros(9, bool), 0)
    assert not verdict.passed and verdict.ap_prior is None

"""Off-policy values are right on average whatever the model says, and their errors are as large as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from agents.off_policy import Value, audit_propensity, doubly_robust


def _pool(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True rewards of one policy, a good model of them, and the probability of an audit, each float64[4000]."""
    rng = np.random.default_rng(seed)
    chance = rng.random(4_000)
    reward = np.where(rng.random(4_000) < chance, -2.0, 1.0)
    return reward, 1.0 - 3.0 * chance, 0.02 + 0.2 * chance


@pytest.mark.parametrize("model", ["right", "nothing", "inverted"])
def test_right_on_average_whatever_the_model_says(model: str) -> None:
    reward, expected, propensity = _pool(0)
    said = {"right": expected, "nothing": np.zeros(4_000), "inverted": -expected}[model]
    rng, values = np.random.default_rng(1), []
    for _ in range(300):
        audited = rng.random(4_000) < propensity
        values.append(doubly_robust(said, audited, reward[audited], propensity[audited]))
    means, errors = (np.array([getattr(value, name) for value in values]) for name in ("mean", "error"))
    assert abs(means.mean() - reward.mean()) < 3 * means.std() / np.sqrt(300)
    covered = np.abs(means - reward.mean()) < 2 * errors
    assert covered.mean() > 0.9


def test_a_good_model_needs_fewer_audits() -> None:
    reward, expected, propensity = _pool(0)
    audited = np.random.default_rng(2).random(4_000) < propensity
    good, none = (
        doubly_robust(model, audited, reward[audited], propensity[audited]) for model in (expected, np.zeros(4_000))
    )
    assert good.error < 0.85 * none.error


def test_permuted_rewards_show_no_gain() -> None:
    """A policy that drops what a useless ranking calls bad gains nothing, and the evaluation says so."""
    reward, _, propensity = _pool(0)
    rng = np.random.default_rng(3)
    dropped = rng.random(4_000) < 0.3
    audited = rng.random(4_000) < propensity
    gain = np.where(dropped, -reward, 0.0) + reward.mean() * dropped
    value = doubly_robust(np.zeros(4_000), audited, gain[audited], propensity[audited])
    assert not value.surely_above(0.0) and abs(value.mean) < 3 * value.error


def test_propensities_by_label() -> None:
    given = np.array([0, 0, 0, 0, 1, 1])
    audited = np.array([True, False, False, True, False, True])
    assert audit_propensity(given, audited).tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match=r"highest 1\.5"):
        doubly_robust(np.zeros(2), np.array([True, False]), np.ones(1), np.array([1.5]))
    assert Value(0.2, 0.1).surely_above(0.0) and not Value(0.1, 0.1).surely_above(0.0)

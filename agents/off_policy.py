"""Off-policy evaluation: what a policy's decisions are worth to training, before it decides anything.

Every audited row tells the reward of all three actions, whichever was taken; what was logged is which rows were
audited, and with what probability. Doubly robust (Dudík, Langford & Li, ICML 2011): a model of the reward for every
row, mended by what the audited rows really gave. Unbiased if the model is right or the propensities are, and the
propensities are ours. Knows rewards and propensities; nothing of policies.

Legend: N rows of the pool, T audited ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Value", "audit_propensity", "doubly_robust"]


@dataclass(frozen=True)
class Value:
    """Mean reward per row and its standard error."""

    mean: float
    error: float

    def surely_above(self, other: float, z: float = 1.645) -> bool:
        """Whether the mean lies above with 95% confidence."""
        return self.mean - z * self.error > other


def audit_propensity(given_N: np.ndarray, audited_N: np.ndarray) -> np.ndarray:
    """Probability with which each audited row was audited where nobody logged it, float64[T].

    The audited share of the rows given its label: right for a uniform draw and for one stratified by label.
    """
    rows_C = np.bincount(given_N)
    audited_C = np.bincount(given_N[audited_N], minlength=len(rows_C))
    return (audited_C / np.maximum(rows_C, 1))[given_N[audited_N]]


def doubly_robust(model_N: np.ndarray, audited_N: np.ndarray, reward_T: np.ndarray, propensity_T: np.ndarray) -> Value:
    """model_N: reward expected of each row's action, float64[N]; of an audited row by a model that never saw its truth.

    audited_N: bool[N]. reward_T: what its action truly gives. propensity_T: in (0, 1], else ValueError.
    """
    if not ((propensity_T > 0) & (propensity_T <= 1)).all():
        raise ValueError(
            f"propensities lie in (0, 1]; the lowest is {propensity_T.min()}, the highest {propensity_T.max()}"
        )
    terms_N = model_N.astype(np.float64)
    terms_N[audited_N] += (reward_T - model_N[audited_N]) / propensity_T
    return Value(float(terms_N.mean()), float(terms_N.std() / math.sqrt(max(len(terms_N), 1))))

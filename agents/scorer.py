"""The audited linear scorer: a ridge logistic regression on the state, fitted by Newton steps.

Knows features and good or bad; nothing of where either comes from.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["fit_logistic"]

_NEWTON_STEPS: Final = 50


def fit_logistic(
    features_NF: np.ndarray, bad_N: np.ndarray, inverse_ridge: float, weights_N: np.ndarray | None = None
) -> np.ndarray:
    """Weights and, last, the intercept, float64[F + 1], minimising ½‖w‖² + inverse_ridge · Σ weight · log-loss.

    bad_N: 0/1, or shares in between. The intercept is free. With one kind only, the intercept says so and w stays near
    0: half a row of each kind is added.
    """
    x = np.concatenate([features_NF, np.ones((len(features_NF), 1))], 1).astype(np.float64)
    y, mass = bad_N.astype(np.float64), np.ones(len(x)) if weights_N is None else weights_N.astype(np.float64)
    anchor = np.zeros((2, x.shape[1]))
    anchor[:, -1] = 1.0
    x, y, mass = np.concatenate([x, anchor]), np.concatenate([y, [0.0, 1.0]]), np.concatenate([mass, [0.5, 0.5]])
    ridge = np.ones(x.shape[1])
    ridge[-1] = 1e-9
    w = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(x @ w)
        gradient = ridge * w + inverse_ridge * (x.T @ (mass * (p - y)))
        curvature = np.diag(ridge) + inverse_ridge * (x.T * (mass * p * (1 - p))) @ x
        step = np.linalg.solve(curvature, gradient)
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        w -= step
        if np.abs(step).max() < 1e-9:
            break
    return w


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))

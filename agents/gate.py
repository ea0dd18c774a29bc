"""The gate: a learned ranking ships only if it beats the prior on trusted rows that neither has seen.

Knows rankings and truths; nothing of policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["GateVerdict", "average_precision", "compare"]

RESAMPLES: Final = 2000
NEEDED_SHARE: Final = 0.95


@dataclass(frozen=True)
class GateVerdict:
    """ap_*: average precision, None without a bad and a good row. better: share of resamples in which learned wins."""

    rows: int
    bad: int
    ap_prior: float | None
    ap_learned: float | None
    better: float | None
    passed: bool


def average_precision(badness: np.ndarray, bad: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean precision at each bad row, ties counted at the end of their tie. bad: bool[n] with at least one True."""
    mass = np.ones(len(bad)) if weights is None else weights
    order = np.argsort(-badness, kind="stable")
    hits, seen = np.cumsum((mass * bad)[order]), np.cumsum(mass[order])
    ends = np.append(np.flatnonzero(np.diff(badness[order])), len(bad) - 1)
    hits, seen = hits[ends], np.maximum(seen[ends], 1e-12)
    return float((np.diff(hits, prepend=0.0) * hits / seen).sum() / hits[-1])


def compare(prior: np.ndarray, learned: np.ndarray, bad: np.ndarray, seed: int) -> GateVerdict:
    """Paired bootstrap over rows kept apart: both rankings are scored on the same resample.

    prior, learned: badness, float[n]. Passes when learned has the higher average precision and wins NEEDED_SHARE of the
    resamples (those without a bad row don't count); never without a bad and a good row.
    """
    n, num_bad = len(bad), int(bad.sum())
    if num_bad == 0 or num_bad == n:
        return GateVerdict(n, num_bad, None, None, None, False)
    rng = np.random.default_rng((seed, 0x6A7E))
    wins, counted = 0.0, 0
    for _ in range(RESAMPLES):
        mass = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        if mass[bad].sum() == 0:
            continue
        difference = average_precision(learned, bad, mass) - average_precision(prior, bad, mass)
        wins, counted = wins + (difference > 0), counted + 1
    ap_prior, ap_learned = average_precision(prior, bad), average_precision(learned, bad)
    better = wins / max(counted, 1)
    return GateVerdict(n, num_bad, ap_prior, ap_learned, better, ap_learned > ap_prior and better >= NEEDED_SHARE)

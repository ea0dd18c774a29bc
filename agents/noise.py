"""How many labels are wrong: counted among trusted rows where there are some, else what the model alone can see.

Knows given labels and truths; nothing of rankings or policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["CountedNoise", "counted_noise"]

_Z: Final = 1.959964
"""Standard normal quantile of a two-sided 95% interval."""


@dataclass(frozen=True)
class CountedNoise:
    """share of wrong given labels; low, high: its 95% interval. rows: trusted rows behind it, at least 1."""

    share: float
    low: float
    high: float
    rows: int


def counted_noise(given_N: np.ndarray, truth_N: np.ndarray) -> CountedNoise | None:
    """Share of wrong labels among N rows, from those of them that are trusted; None without a trusted row.

    given_N: int64[N] label codes, none missing. truth_N: int64[N], -1 = not trusted. A trusted row stands for the rows
    that were given its label (post-stratification), so a sample with as many rows of every label, or by chance more of
    one, does not lean: its weight is rows / trusted rows of that label. A label without a trusted row is taken to be as
    wrong as the others. The interval is Wilson's (1927) at Kish's effective size (Σw)² / Σw² (Kish 1965, 11.7).
    """
    trusted = np.flatnonzero(truth_N >= 0)
    if not len(trusted):
        return None
    given_T = given_N[trusted]
    weights_T = np.bincount(given_N)[given_T] / np.bincount(given_T)[given_T]
    wrong_T = given_T != truth_N[trusted]
    share = float((weights_T * wrong_T).sum() / weights_T.sum())
    size = float(weights_T.sum() ** 2 / (weights_T**2).sum())
    return CountedNoise(share, *_wilson(share, size), len(trusted))


def _wilson(share: float, size: float) -> tuple[float, float]:
    middle = (share + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = _Z * math.sqrt(share * (1 - share) / size + (_Z / (2 * size)) ** 2) / (1 + _Z**2 / size)
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))

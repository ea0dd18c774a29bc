"""The rules policy: what the recipe's operators say, taken at their word. The learned policy's plain twin.

Knows masks and margins; nothing of signals, files or learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from curator.verdict import DROP, KEEP

__all__ = ["RulesDecisions", "rules_decide"]


class RulesDecisions(NamedTuple):
    """actions uint8[n] · reasons int16[n], positions among the masks' names, -1 none · label_score float32[n] in
    [0, 1], low = bad: one half lies on a threshold."""

    actions: np.ndarray
    reasons: np.ndarray
    label_score: np.ndarray


def rules_decide(fired: Mapping[str, np.ndarray], badness: np.ndarray) -> RulesDecisions:
    """Drops a row when any rule fired; the first in the mapping's order gives the reason.

    fired: reason -> bool[n]. badness: float32[n], the largest excess over any threshold in units of the threshold (0 on
    it, above 0 beyond it), NaN where no rule can say. The score is 1 / (1 + exp(2 · badness)), held below one half for
    dropped rows and at or above it for kept ones; a kept row without a say scores 1, a dropped one 0.
    """
    reasons = np.full(len(badness), -1, np.int16)
    for position, mask in reversed(list(enumerate(fired.values()))):
        reasons[mask] = position
    dropped = reasons >= 0
    score = 1.0 / (1.0 + np.exp(2.0 * np.clip(np.nan_to_num(badness.astype(np.float64), nan=0.0), -20.0, 20.0)))
    score = np.where(np.isnan(badness), np.where(dropped, 0.0, 1.0), score)
    score = np.where(dropped, np.minimum(score, np.nextafter(np.float32(0.5), np.float32(0))), np.maximum(score, 0.5))
    actions = np.where(dropped, DROP, KEEP).astype(np.uint8)
    return RulesDecisions(actions, reasons, score.astype(np.float32))

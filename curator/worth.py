"""What a row is worth to training, and what a person's verdict on it adds: the one scale of rewards and of reviews.

Knows actions and probabilities; nothing of policies, ledgers or people.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from curator.verdict import DROP, RELABEL

__all__ = ["RIGHT", "WRONG", "verdict_worth"]

RIGHT: Final = 1.0
WRONG: Final = -2.0
"""What a row adds with a right label, and with a wrong one; a row that is not there adds 0."""


def verdict_worth(actions: np.ndarray, bad: np.ndarray, proposal_wrong: np.ndarray, *, labelled: bool) -> np.ndarray:
    """Expected rise of each row's worth by knowing its truth, float64[n] in rows with a right label (perfect
    information, Howard 1966).

    actions: uint8[n] of `curator.verdict`, as decided. bad: float[n], P(the given label, or the text, is bad).
    proposal_wrong: float[n], P(the proposed label is wrong), read where the action is relabel. labelled: a verdict
    brings the right label, so a row then adds RIGHT whatever it was; else a bad row can but be dropped.
    """
    if labelled:
        kept = (RIGHT - WRONG) * bad
        return np.select([actions == RELABEL, actions == DROP], [(RIGHT - WRONG) * proposal_wrong, RIGHT], kept)
    return np.where(actions == DROP, RIGHT * (1.0 - bad), -WRONG * bad)

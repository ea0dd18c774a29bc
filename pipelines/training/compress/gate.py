"""The gate after a step: is the model still good enough to go on with, and why.

A pure function of two measurements; it fails closed: what cannot be compared does not pass.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Verdict", "passed"]


class Verdict(NamedTuple):
    kept: bool
    why: str


def passed(before: float, after: float, max_loss: float, *, finite: bool = True) -> Verdict:
    """Whether a step from accuracy `before` to `after` costs at most the share `max_loss` of it.

    `finite`: every score of the model was a number.
    """
    if not finite or not math.isfinite(after):
        return Verdict(False, "rolled back: scores of held-out rows are not numbers")
    lost = (before - after) / before if before > 0 else math.inf
    told = f"accuracy {after:.4f} after {before:.4f}"
    if lost <= max_loss:
        change = f"{-lost:+.2%}" if lost else "as before"
        return Verdict(True, f"{told}: {change}, -{max_loss:.2%} allowed")
    return Verdict(False, f"rolled back: {told}: {-lost:+.2%}, only -{max_loss:.2%} allowed")

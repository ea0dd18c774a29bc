"""The learning rate of every step: a straight rise, then half a cosine down to a tenth.

A pure function of the step; knows nothing of models or optimisers.
"""

from __future__ import annotations

import math

from pipelines.training.kinds import Optimiser

__all__ = ["FLOOR", "learning_rate"]

FLOOR = 0.1
"""The last step's rate as a share of the highest (Hoffmann et al. 2022, arXiv 2203.15556, appendix B)."""


def learning_rate(step: int, total_steps: int, optimiser: Optimiser) -> float:
    """The rate of a 0-based step; never 0, so that no step is idle. Raises ValueError outside [0, total_steps)."""
    if not 0 <= step < total_steps:
        raise ValueError(f"step {step} is outside the {total_steps} steps of the job")
    rising = math.ceil(optimiser.warmup * total_steps)
    if step < rising:
        return optimiser.learning_rate * (step + 1) / rising
    progress = (step - rising) / max(total_steps - rising - 1, 1)
    return optimiser.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))

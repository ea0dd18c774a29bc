"""The adaptive curriculum: a bandit over the three difficulties, fed by what training reports.

Pure functions of beliefs and losses; knows no plan, no rows, and not where losses come from.

Each difficulty has a Beta posterior of the share of its loss that an epoch takes away (successes: the share taken,
failures: the rest, times `evidence`); older epochs count less and less (discounted Beta posteriors: Raj and Kalyani
2017, "Taming Non-stationary Bandits"). The next epoch gives each difficulty its probability of being the one that
learns most (probability matching: Thompson 1933), by summing over a grid, not by drawing: equal beliefs, equal ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curator.difficulty import NAMES
from curator.epochs.apportion import apportion
from curator.epochs.curriculum import Mix
from curator.errors import RequestError

__all__ = ["Adaptive", "Belief", "Losses", "best_shares"]

PARTS: Final = 10_000
"""Ratios are whole ten-thousandths, so that they read the same everywhere."""
GRID: Final = 4096

Three = tuple[float, float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Losses(_Frozen):
    """What one epoch of training reported: the mean loss of each difficulty, null where no row was reported."""

    easy: float | None = Field(default=None, ge=0, allow_inf_nan=False, strict=True)
    medium: float | None = Field(default=None, ge=0, allow_inf_nan=False, strict=True)
    hard: float | None = Field(default=None, ge=0, allow_inf_nan=False, strict=True)

    @classmethod
    def of_rows(cls, difficulty: Sequence[str | None], loss: Sequence[float] | np.ndarray) -> Losses:
        """Means over rows: `difficulty` as a ShardStream hands it out (null for padding, which does not count).

        Raises RequestError on lengths that differ, an unknown difficulty or a loss that is negative or no number.
        """
        values = np.asarray(loss, dtype=np.float64)
        if len(difficulty) != len(values):
            raise RequestError(f"{len(difficulty)} difficulties with {len(values)} losses; give one loss a row")
        unknown = sorted({name for name in difficulty if name is not None and name not in NAMES})
        if unknown:
            raise RequestError(f"difficulty {unknown[0]!r} is not one of {', '.join(NAMES)}")
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if bad.size:
            raise RequestError(f"row {bad[0]} has loss {values[bad[0]]}; losses are numbers from 0 up")
        names = np.array([name or "" for name in difficulty], dtype=object)
        means = {name: float(values[names == name].mean()) for name in NAMES if (names == name).any()}
        return cls(**means)

    @property
    def by_difficulty(self) -> tuple[float | None, float | None, float | None]:
        return self.easy, self.medium, self.hard


class Belief(_Frozen):
    """What is known of the difficulties: discounted successes and failures beyond a uniform prior, and the last mean
    losses seen (null: never)."""

    taken: Three = (0.0, 0.0, 0.0)
    left: Three = (0.0, 0.0, 0.0)
    last: tuple[float | None, float | None, float | None] = (None, None, None)


class Adaptive(_Frozen):
    """Begins with `start`; from the second report on, moves towards what learns most.

    least: the share every difficulty keeps. memory: how much of the belief an epoch leaves. evidence: how many
    observations an epoch's report stands for.
    """

    kind: Literal["adaptive"] = "adaptive"
    start: Mix = Mix(easy=0.7, medium=0.2, hard=0.1)
    least: float = Field(default=0.05, ge=0, le=1 / 3)
    memory: float = Field(default=0.7, ge=0, le=1)
    evidence: float = Field(default=50.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _start_keeps_the_least(self) -> Adaptive:
        if min(self.start.shares) < Fraction(repr(self.least)):
            raise ValueError(
                f"start gives a difficulty less than the least share {self.least}; raise it or lower least"
            )
        return self

    def learned(self, belief: Belief, losses: Losses) -> Belief:
        """The belief after an epoch's report. A difficulty that was not reported, or for the first time, is only
        discounted: a drop needs two losses."""
        taken, left, last = [], [], []
        for d, now in enumerate(losses.by_difficulty):
            before = belief.last[d]
            seen = now is not None and before is not None and before > 0
            share = min(max(1 - now / before, 0.0), 1.0) if seen else 0.0  # type: ignore[operator]
            weight = self.evidence if seen else 0.0
            taken.append(self.memory * belief.taken[d] + weight * share)
            left.append(self.memory * belief.left[d] + weight * (1 - share))
            last.append(before if now is None else now)
        return Belief(taken=_three(taken), left=_three(left), last=_three(last))

    def mix(self, belief: Belief) -> Mix:
        """The ratios that follow from a belief: each at least `least`, in ten-thousandths, together 1.

        They leave `start` as evidence comes in: one report that says something counts as much as `start`.
        """
        seen = min(taken + left for taken, left in zip(belief.taken, belief.left, strict=True)) / self.evidence
        trust = seen / (1 + seen)
        best = best_shares(belief.taken, belief.left)
        start = [float(share) for share in self.start.shares]
        blend = [
            (1 - trust) * s + trust * (self.least + (1 - 3 * self.least) * b) for s, b in zip(start, best, strict=True)
        ]
        exact = [Fraction(value) for value in blend]
        easy, medium, hard = apportion(PARTS, [value / sum(exact) for value in exact])
        return Mix(easy=easy / PARTS, medium=medium / PARTS, hard=hard / PARTS)


def best_shares(taken: Three, left: Three) -> Three:
    """The probability of each of three Beta(1 + taken, 1 + left) variables to be the largest; together 1."""
    x = (np.arange(GRID) + 0.5) / GRID
    log_density = np.outer(taken, np.log(x)) + np.outer(left, np.log1p(-x))
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    below = np.cumsum(density, axis=1) - density / 2
    best = np.array([(density[d] * below[d - 1] * below[d - 2]).sum() for d in range(3)])
    return _three((best / best.sum()).tolist())


def _three(values: Sequence[Any]) -> Any:
    easy, medium, hard = values
    return easy, medium, hard

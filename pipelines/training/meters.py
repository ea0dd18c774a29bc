"""How a job runs: tokens a second, the share of the device's arithmetic in use, the share of time it waited for rows.

Knows numbers of steps; nothing of devices or of who shows them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

__all__ = ["WARM_UP", "Meters", "Pace"]

WARM_UP: Final = 3
"""Steps of a process that are not metered: they compile, choose kernels and fill caches."""

_RECENT = 20


class Pace(BaseModel):
    """Over some steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_s: float
    """mean, waiting included"""
    samples_per_s: float
    tokens_per_s: float
    """real ones; 0 for images"""
    padding: float
    """share of positions that hold no token"""
    mfu: float
    """model FLOP utilisation: the share of `matmul_rate` that the model's arithmetic amounts to"""
    waited: float
    """share of the time that the device had no step to do"""


@dataclass(frozen=True)
class _Step:
    seconds: float = 0.0
    idle_s: float = 0.0
    flops: float = 0.0
    samples: int = 0
    tokens: int = 0
    positions: int = 0

    def plus(self, other: _Step) -> _Step:
        ours, theirs = vars(self), vars(other)
        return _Step(**{name: ours[name] + theirs[name] for name in ours})


class Meters:
    """Adds up steps, all and the recent ones."""

    def __init__(self, matmul_rate: float):
        """`matmul_rate`: FLOP/s."""
        self.matmul_rate = matmul_rate
        self._seen, self._all, self._recent = 0, _Step(), deque[_Step](maxlen=_RECENT)

    def add(
        self, *, step_s: float, idle_s: float, flops: float, samples: int, tokens: int = 0, positions: int = 0
    ) -> None:
        self._seen += 1
        step = _Step(step_s, idle_s, flops, samples, tokens, positions)
        self._recent.append(step)
        if self._seen > WARM_UP:
            self._all = self._all.plus(step)

    def recent(self) -> Pace | None:
        """Of the last steps, up to 20, warm-up too; None before the first."""
        total = _Step()
        for step in self._recent:
            total = total.plus(step)
        return self._pace(total, len(self._recent))

    def overall(self) -> Pace | None:
        """Of all steps of this process after its warm-up; None where there is none."""
        return self._pace(self._all, self._seen - WARM_UP)

    def _pace(self, total: _Step, steps: int) -> Pace | None:
        if steps < 1 or total.seconds <= 0:
            return None
        return Pace(
            step_s=total.seconds / steps,
            samples_per_s=total.samples / total.seconds,
            tokens_per_s=total.tokens / total.seconds,
            padding=1 - total.tokens / total.positions if total.positions else 0.0,
            mfu=total.flops / total.seconds / self.matmul_rate,
            waited=min(max(total.idle_s / total.seconds, 0.0), 1.0),
        )

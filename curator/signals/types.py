"""The shapes of rules over one row: a bound on a signal, and an operator that is a handful of bounds.

Knows nothing of how a signal is computed. A rule reads signal columns alone, so its thresholds can change long after
the text was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

__all__ = ["Bound", "Columns", "RowRule"]

Columns = Mapping[str, np.ndarray]
"""Signal name (without the `signal.` prefix) -> float32[n]; NaN means "cannot say"."""


class Bound(NamedTuple):
    """One threshold: the row fires `reason` when `signal` lies strictly beyond `limit`; a limit of None is off."""

    reason: str
    signal: str
    side: Literal["above", "below"]
    limit: float | None

    def fired(self, columns: Columns) -> np.ndarray:
        """bool[n]. Compared in float32, as signals are stored: a share of exactly 1/5 is not above a limit of 0.2."""
        values = columns[self.signal].astype(np.float32, copy=False)
        if self.limit is None:
            return np.zeros(len(values), bool)
        limit = np.float32(self.limit)
        return values > limit if self.side == "above" else values < limit

    def excess(self, columns: Columns) -> np.ndarray:
        """float32[n]: how far beyond the limit, in units of the limit (of 1 where the limit is 0).

        0 at the limit, positive where the bound fires, negative inside; NaN where the signal cannot say or the bound
        is off.
        """
        values = columns[self.signal].astype(np.float32, copy=False)
        if self.limit is None:
            return np.full(len(values), np.nan, np.float32)
        beyond = values - np.float32(self.limit)
        scale = np.float32(abs(self.limit) or 1.0)
        return (beyond if self.side == "above" else -beyond) / scale


class RowRule(BaseModel):
    """An operator that looks at one row at a time: typed thresholds, and `bounds` that says what they mean.

    Subclasses add `kind: Literal[...]`, their thresholds, `reasons` (reason -> one line) and `signals` (columns read).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: ClassVar[dict[str, str]] = {}
    signals: ClassVar[tuple[str, ...]] = ()

    def bounds(self) -> tuple[Bound, ...]:
        """The rule as data; every reason of `reasons` appears at least once."""
        raise NotImplementedError

    def fired(self, columns: Columns) -> dict[str, np.ndarray]:
        """reason -> bool[n], from signal columns alone; a NaN fires nothing. Raises KeyError for a missing column."""
        masks: dict[str, np.ndarray] = {}
        for bound in self.bounds():
            mask = bound.fired(columns)
            masks[bound.reason] = masks[bound.reason] | mask if bound.reason in masks else mask
        return masks

    def badness(self, columns: Columns) -> np.ndarray:
        """float32[n]: the largest `Bound.excess` of this operator, to rank rows by how bad they look to it.

        0 at a threshold, above 0 exactly where a reason fires (1 = beyond by the whole limit), below 0 inside all
        limits; NaN where no signal can say.
        """
        excesses = [bound.excess(columns) for bound in self.bounds()]
        return np.fmax.reduce(excesses) if excesses else np.zeros(0, np.float32)

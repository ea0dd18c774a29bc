"""What a family of signals is: names with their meaning, and one pass over the rows that gives them all.

Knows no signal in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from curator.signals.buffers import RowBytes

__all__ = ["Family"]


class Family(NamedTuple):
    """`score(rows, names)` returns float32[n, k], a column per name of `signals`, in order; null rows and columns that
    are not named may hold anything."""

    signals: dict[str, str]
    score: Callable[[RowBytes, Collection[str]], np.ndarray]

"""Largest remainder: whole counts that add up exactly and stay within one of their shares.

Knows nothing of rows or difficulties.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

__all__ = ["apportion", "exact_shares"]


def exact_shares(weights: Sequence[float]) -> tuple[Fraction, ...]:
    """Weights as exact fractions that sum to 1; 0.7 means seven tenths, not the nearest double.

    Raises ValueError when a weight is negative or not finite, or when all are zero.
    """
    exact = [Fraction(repr(float(weight))) for weight in weights]  # repr: the shortest decimal a person would write
    total = sum(exact)
    if min(exact) < 0 or total <= 0:
        raise ValueError(f"weights {tuple(weights)} must be zero or more and not all zero")
    return tuple(weight / total for weight in exact)


def apportion(total: int, shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Splits `total` by exact shares (sum 1); each count is the floor or the ceiling of its share.

    Largest remainder (Hamilton's method); equal remainders go to the earlier entry.
    """
    exact = [total * share for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return tuple(counts)

"""How far reviewers agree: the plain share, and Cohen's kappa, which takes away what chance would give.

Knows pairs of answers; nothing of rows or of reviews. Source: J. Cohen, "A coefficient of agreement for nominal
scales", Educational and Psychological Measurement 20 (1960).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

__all__ = ["cohens_kappa", "raw_agreement"]


def raw_agreement(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Share of pairs whose two answers are equal; None without pairs."""
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """κ = (p₀ - pₑ) / (1 - pₑ) of two reviewers, the first answer of every pair being the same reviewer's: p₀ their
    agreement, pₑ the one of two people who answer at random, each as often as this reviewer did (Cohen 1960, eq. 1).

    1 is agreement, 0 what chance gives, below 0 is worse. None without pairs, and where both only ever gave one and
    the same answer (pₑ = 1): then nothing can be told from chance.
    """
    observed = raw_agreement(pairs)
    if observed is None:
        return None
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(first[answer] * second[answer] for answer in first) / len(pairs) ** 2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)

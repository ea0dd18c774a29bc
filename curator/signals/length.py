"""Bounds on how long a text may be. Knows counts only."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["Length"]


class Length(RowRule):
    """Drops texts outside bounds on characters or words; by default only texts without a single word."""

    kind: Literal["length"] = "length"
    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=0)
    min_words: int | None = Field(default=1, ge=0)
    max_words: int | None = Field(default=None, ge=0)

    signals: ClassVar[tuple[str, ...]] = ("num_chars", "num_words")
    reasons: ClassVar[dict[str, str]] = {
        "too_short": "fewer characters or words than asked for",
        "too_long": "more characters or words than asked for",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("too_short", "num_chars", "below", self.min_chars),
            Bound("too_long", "num_chars", "above", self.max_chars),
            Bound("too_short", "num_words", "below", self.min_words),
            Bound("too_long", "num_words", "above", self.max_words),
        )

"""The rules FineWeb adds to Gopher's and C4's. Knows thresholds, not how signals are counted.

Penedo et al. 2024, "The FineWeb Datasets", section 3.6. FineWeb applies them to text whose lines C4 has already cut;
here they see the text as it is, lines stripped of surrounding whitespace.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["FinewebQuality"]


class FinewebQuality(RowRule):
    """Drops lists and menus: lines without punctuation, short lines, repeated lines, a newline every few words."""

    kind: Literal["fineweb_quality"] = "fineweb_quality"
    min_terminal_line_share: float | None = Field(default=0.12, ge=0, le=1)
    max_short_line_share: float | None = Field(default=0.67, ge=0, le=1)
    max_duplicate_char_share: float | None = Field(default=0.01, ge=0, le=1)
    max_newline_per_word: float | None = Field(default=0.3, ge=0)

    signals: ClassVar[tuple[str, ...]] = (
        "terminal_line_share",
        "short_line_share",
        "duplicate_stripped_char_share",
        "newline_per_word",
    )
    reasons: ClassVar[dict[str, str]] = {
        "fineweb_line_punctuation": "too few lines end with terminal punctuation",
        "fineweb_short_lines": "too many lines of at most 30 characters",
        "fineweb_duplicate_chars": "too much of the text lies in repeated lines",
        "fineweb_newlines": "too many newlines per word",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("fineweb_line_punctuation", "terminal_line_share", "below", self.min_terminal_line_share),
            Bound("fineweb_short_lines", "short_line_share", "above", self.max_short_line_share),
            Bound("fineweb_duplicate_chars", "duplicate_stripped_char_share", "above", self.max_duplicate_char_share),
            Bound("fineweb_newlines", "newline_per_word", "above", self.max_newline_per_word),
        )

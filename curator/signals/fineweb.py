"""The rules FineWeb adds to Gopher's and C4's. Knows thresholds, not how signals are counted.

Penedo et al. 2024, "The FineWeb Datasets", section 3.6. FineWeb applies them to text whose lines C4 has already cut:
here no line is removed from a row, but lines that C4 would remove are not counted (`after_c4`).
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
    after_c4: bool = Field(default=True, description="only lines that C4 keeps count (whatever they end with)")

    signals: ClassVar[tuple[str, ...]] = (
        "terminal_line_share",
        "short_line_share",
        "duplicate_stripped_char_share",
        "newline_per_token",
        "c4_terminal_line_share",
        "c4_short_line_share",
        "c4_duplicate_char_share",
        "c4_newline_per_token",
    )
    reasons: ClassVar[dict[str, str]] = {
        "fineweb_line_punctuation": "too few lines end with terminal punctuation",
        "fineweb_short_lines": "too many lines of at most 30 characters",
        "fineweb_duplicate_chars": "too much of the text lies in repeated lines",
        "fineweb_newlines": "too many newlines per token",
    }

    def bounds(self) -> tuple[Bound, ...]:
        terminal, short, duplicate, newline = self.signals[4:] if self.after_c4 else self.signals[:4]
        return (
            Bound("fineweb_line_punctuation", terminal, "below", self.min_terminal_line_share),
            Bound("fineweb_short_lines", short, "above", self.max_short_line_share),
            Bound("fineweb_duplicate_chars", duplicate, "above", self.max_duplicate_char_share),
            Bound("fineweb_newlines", newline, "above", self.max_newline_per_word),
        )

"""The heuristic filters of DCLM-Baseline. Knows thresholds, not how signals are counted.

Li et al. 2024, "DataComp-LM" (arXiv 2406.11794), section 4.1: RefinedWeb's rules as DCLM rebuilt them, without the URL
rules. Thresholds: `baselines/baselines_configs/dclm_baseline_refinedweb.yaml` of github.com/mlfoundations/dclm. Words
are whitespace words here; DCLM counts page length by a Unicode segmenter, so that "e-mail" is two. Not implemented, for
want of what they need: the banned domains and words in addresses (URL lists), the removal of addresses from the text
(no rule here changes a row) and the fastText classifier that keeps a tenth of the pages (a model and its training set).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["DclmQuality"]


class DclmQuality(RowRule):
    """Drops pages by length, by their marks, and where DCLM's line rules would take too many words away.

    Unlike Gopher's rules: # and ellipses count together, stop words as often as they occur and in any case, and lines
    are those that are not blank. Repetition is `gopher_repetition`'s, with the same limits; DCLM counts the first of
    several copies too and overlooks white space, so that it drops a little more.
    """

    kind: Literal["dclm_quality"] = "dclm_quality"
    min_words: int | None = Field(default=50, ge=0)
    max_words: int | None = Field(default=100_000, ge=0)
    min_mean_word_length: float | None = Field(default=3, ge=0)
    max_mean_word_length: float | None = Field(default=10, ge=0)
    max_symbol_per_word: float | None = Field(default=0.1, ge=0)
    max_bullet_line_share: float | None = Field(default=0.9, ge=0, le=1)
    max_ellipsis_line_share: float | None = Field(default=0.3, ge=0, le=1)
    min_alphabetic_word_share: float | None = Field(default=0.8, ge=0, le=1)
    min_stop_words: int | None = Field(default=2, ge=0)
    max_removed_word_share: float | None = Field(default=0.05, ge=0, le=1)

    signals: ClassVar[tuple[str, ...]] = (
        "num_proper_words",
        "dclm_mean_word_length",
        "dclm_symbol_per_word",
        "dclm_bullet_line_share",
        "dclm_ellipsis_line_share",
        "alphabetic_word_share",
        "dclm_num_stop_words",
        "dclm_removed_word_share",
    )
    reasons: ClassVar[dict[str, str]] = {
        "dclm_word_count": "too few or too many words",
        "dclm_word_length": "words too short or too long on average",
        "dclm_symbols": "too many # and ellipses per word",
        "dclm_bullet_lines": "nearly every line is a bullet point",
        "dclm_ellipsis_lines": "too many lines end with an ellipsis",
        "dclm_alphabetic_words": "too few words hold a letter",
        "dclm_stop_words": "English stop words hardly occur",
        "dclm_removed_words": "too many words stand in shouted, one-word or counter lines or in shop phrases",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("dclm_word_count", "num_proper_words", "below", self.min_words),
            Bound("dclm_word_count", "num_proper_words", "above", self.max_words),
            Bound("dclm_word_length", "dclm_mean_word_length", "below", self.min_mean_word_length),
            Bound("dclm_word_length", "dclm_mean_word_length", "above", self.max_mean_word_length),
            Bound("dclm_symbols", "dclm_symbol_per_word", "above", self.max_symbol_per_word),
            Bound("dclm_bullet_lines", "dclm_bullet_line_share", "above", self.max_bullet_line_share),
            Bound("dclm_ellipsis_lines", "dclm_ellipsis_line_share", "above", self.max_ellipsis_line_share),
            Bound("dclm_alphabetic_words", "alphabetic_word_share", "below", self.min_alphabetic_word_share),
            Bound("dclm_stop_words", "dclm_num_stop_words", "below", self.min_stop_words),
            Bound("dclm_removed_words", "dclm_removed_word_share", "above", self.max_removed_word_share),
        )

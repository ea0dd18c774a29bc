"""The rules of Gopher's MassiveText: document quality and repetition. Knows thresholds, not how signals are counted.

Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", section A1.1, Table A1.
Words are tokens, punctuation apart, as in the datatrove library, whose verdicts on English these rules give.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["GopherQuality", "GopherRepetition"]


class GopherQuality(RowRule):
    """MassiveText quality filter (Rae et al. 2021, section A1.1). Counts are of words that are not all punctuation."""

    kind: Literal["gopher_quality"] = "gopher_quality"
    min_words: int | None = Field(default=50, ge=0)
    max_words: int | None = Field(default=100_000, ge=0)
    min_mean_word_length: float | None = Field(default=3, ge=0)
    max_mean_word_length: float | None = Field(default=10, ge=0)
    max_hash_per_word: float | None = Field(default=0.1, ge=0)
    max_ellipsis_per_word: float | None = Field(default=0.1, ge=0)
    max_bullet_line_share: float | None = Field(default=0.9, ge=0, le=1)
    max_ellipsis_line_share: float | None = Field(default=0.3, ge=0, le=1)
    min_alphabetic_word_share: float | None = Field(default=0.8, ge=0, le=1)
    min_stop_words: int | None = Field(default=2, ge=0, le=8)

    signals: ClassVar[tuple[str, ...]] = (
        "num_proper_tokens",
        "mean_token_length",
        "hash_per_token",
        "ellipsis_per_token",
        "bullet_line_share",
        "ellipsis_line_share",
        "alphabetic_token_share",
        "num_stop_words",
    )
    reasons: ClassVar[dict[str, str]] = {
        "gopher_word_count": "too few or too many words",
        "gopher_word_length": "words too short or too long on average",
        "gopher_hashes": "too many # per word",
        "gopher_ellipses": "too many ellipses per word",
        "gopher_bullet_lines": "nearly every line is a bullet point",
        "gopher_ellipsis_lines": "too many lines end with an ellipsis",
        "gopher_alphabetic_words": "too few words hold a letter",
        "gopher_stop_words": "too few of eight English stop words occur",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("gopher_word_count", "num_proper_tokens", "below", self.min_words),
            Bound("gopher_word_count", "num_proper_tokens", "above", self.max_words),
            Bound("gopher_word_length", "mean_token_length", "below", self.min_mean_word_length),
            Bound("gopher_word_length", "mean_token_length", "above", self.max_mean_word_length),
            Bound("gopher_hashes", "hash_per_token", "above", self.max_hash_per_word),
            Bound("gopher_ellipses", "ellipsis_per_token", "above", self.max_ellipsis_per_word),
            Bound("gopher_bullet_lines", "bullet_line_share", "above", self.max_bullet_line_share),
            Bound("gopher_ellipsis_lines", "ellipsis_line_share", "above", self.max_ellipsis_line_share),
            Bound("gopher_alphabetic_words", "alphabetic_token_share", "below", self.min_alphabetic_word_share),
            Bound("gopher_stop_words", "num_stop_words", "below", self.min_stop_words),
        )


class GopherRepetition(RowRule):
    """MassiveText repetition filter (Rae et al. 2021, Table A1): thirteen shares, each with its limit."""

    kind: Literal["gopher_repetition"] = "gopher_repetition"
    max_duplicate_line_share: float | None = Field(default=0.30, ge=0, le=1)
    max_duplicate_paragraph_share: float | None = Field(default=0.30, ge=0, le=1)
    max_duplicate_line_char_share: float | None = Field(default=0.20, ge=0, le=1)
    max_duplicate_paragraph_char_share: float | None = Field(default=0.20, ge=0, le=1)
    top_from: Literal[1, 3] = Field(
        default=1,
        description="occurrences from which a top n-gram counts: 1 as in datatrove, where a text of a few words goes; "
        "3 spares it, and a headline that a short text takes up",
    )
    max_top_2_gram: float | None = Field(default=0.20, ge=0)
    max_top_3_gram: float | None = Field(default=0.18, ge=0)
    max_top_4_gram: float | None = Field(default=0.16, ge=0)
    max_duplicate_5_gram: float | None = Field(default=0.15, ge=0)
    max_duplicate_6_gram: float | None = Field(default=0.14, ge=0)
    max_duplicate_7_gram: float | None = Field(default=0.13, ge=0)
    max_duplicate_8_gram: float | None = Field(default=0.12, ge=0)
    max_duplicate_9_gram: float | None = Field(default=0.11, ge=0)
    max_duplicate_10_gram: float | None = Field(default=0.10, ge=0)

    signals: ClassVar[tuple[str, ...]] = (
        "duplicate_line_share",
        "duplicate_paragraph_share",
        "duplicate_line_char_share",
        "duplicate_paragraph_char_share",
        *(f"top_{n}_gram_char_share" for n in (2, 3, 4)),
        *(f"repeated_{n}_gram_char_share" for n in (2, 3, 4)),
        *(f"duplicate_{n}_gram_char_share" for n in (5, 6, 7, 8, 9, 10)),
    )
    reasons: ClassVar[dict[str, str]] = {
        "gopher_duplicate_lines": "too many lines repeat earlier ones",
        "gopher_duplicate_paragraphs": "too many paragraphs repeat earlier ones",
        "gopher_duplicate_line_chars": "too much of the text lies in repeated lines",
        "gopher_duplicate_paragraph_chars": "too much of the text lies in repeated paragraphs",
        **{f"gopher_top_{n}_gram": f"one sequence of {n} words makes up too much of the text" for n in (2, 3, 4)},
        **{
            f"gopher_duplicate_{n}_gram": f"too much of the text lies in repeated sequences of {n} words"
            for n in (5, 6, 7, 8, 9, 10)
        },
    }

    def bounds(self) -> tuple[Bound, ...]:
        whole = (
            Bound("gopher_duplicate_lines", "duplicate_line_share", "above", self.max_duplicate_line_share),
            Bound(
                "gopher_duplicate_paragraphs", "duplicate_paragraph_share", "above", self.max_duplicate_paragraph_share
            ),
            Bound(
                "gopher_duplicate_line_chars", "duplicate_line_char_share", "above", self.max_duplicate_line_char_share
            ),
            Bound(
                "gopher_duplicate_paragraph_chars",
                "duplicate_paragraph_char_share",
                "above",
                self.max_duplicate_paragraph_char_share,
            ),
        )
        kind = "top" if self.top_from == 1 else "repeated"
        top = tuple(
            Bound(f"gopher_top_{n}_gram", f"{kind}_{n}_gram_char_share", "above", getattr(self, f"max_top_{n}_gram"))
            for n in (2, 3, 4)
        )
        duplicate = tuple(
            Bound(
                f"gopher_duplicate_{n}_gram",
                f"duplicate_{n}_gram_char_share",
                "above",
                getattr(self, f"max_duplicate_{n}_gram"),
            )
            for n in (5, 6, 7, 8, 9, 10)
        )
        return whole + top + duplicate

"""Texts in which words of a list are frequent. Knows shares, not how words are found."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["LIST_SIGNALS", "WordList"]

LIST_SIGNALS: Final = ("listed_word_share",)
"""Words of the list, per word; whole words, letters of any script in lower case; cannot say without words."""


class WordList(RowRule):
    """Drops texts in which too many words are those of a list, in any case: `words`, and `files` with one word a line
    (UTF-8; what follows a # and empty lines are passed over)."""

    kind: Literal["word_list"] = "word_list"
    words: tuple[Annotated[str, Field(max_length=200)], ...] = ()
    files: tuple[str, ...] = ()
    max_share: float | None = Field(default=0.05, ge=0, le=1)

    signals: ClassVar[tuple[str, ...]] = LIST_SIGNALS
    reasons: ClassVar[dict[str, str]] = {"listed_words": "too many words are those of the list"}

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("listed_words", "listed_word_share", "above", self.max_share),)

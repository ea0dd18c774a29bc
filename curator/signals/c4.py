"""The page rules of C4. Knows thresholds, not how signals are counted.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning", section 2.2. Only rules that drop a whole page are
here: lines are judged to count sentences, but none is removed from the text. Not implemented: the bad-words list, the
three-sentence-span deduplication, the language rule (see `language`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["C4Quality"]


class C4Quality(RowRule):
    """Drops pages with placeholder text, curly brackets (code), or fewer than five sentences in good lines.

    As in the reference code, what stands in a line that C4 would remove anyway (too short, no terminal punctuation, a
    mention of JavaScript) counts neither for a page nor against it.
    """

    kind: Literal["c4_quality"] = "c4_quality"
    min_sentences: int | None = Field(default=5, ge=0)
    max_lorem_ipsum: int | None = Field(default=0, ge=0, description="lines with lorem ipsum allowed")
    max_curly_bracket: int | None = Field(default=0, ge=0, description="lines with { allowed")
    require_terminal_punctuation: bool = Field(
        default=True, description="only lines that end in . ! ? or a quote count; FineWeb switches this off"
    )

    signals: ClassVar[tuple[str, ...]] = (
        "c4_lorem_ipsum",
        "c4_curly_bracket",
        "c4_curly_bracket_terminal",
        "c4_sentences",
        "c4_sentences_terminal",
    )
    reasons: ClassVar[dict[str, str]] = {
        "c4_lorem_ipsum": "placeholder text (lorem ipsum)",
        "c4_curly_bracket": "curly brackets: code rather than language",
        "c4_too_few_sentences": "too few sentences in lines of at least three words",
    }

    def bounds(self) -> tuple[Bound, ...]:
        lines = "_terminal" if self.require_terminal_punctuation else ""
        return (
            Bound("c4_lorem_ipsum", "c4_lorem_ipsum", "above", self.max_lorem_ipsum),
            Bound("c4_curly_bracket", f"c4_curly_bracket{lines}", "above", self.max_curly_bracket),
            Bound("c4_too_few_sentences", f"c4_sentences{lines}", "below", self.min_sentences),
        )

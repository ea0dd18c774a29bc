"""Keep rows in the wanted languages. Knows language codes; the model that finds them lives with the signals."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from curator.signals.types import Bound, Columns, RowRule

__all__ = ["LANGUAGES", "Language"]

# fmt: off
LANGUAGES: Final = (
    "ace", "af", "am", "an", "ar", "ary", "arz", "as", "az", "ba", "bcl", "be", "bg", "bn", "br", "bs", "ca", "crh",
    "cs", "cy", "da", "de", "dz", "el", "en", "eo", "es", "et", "eu", "ext", "fa", "fi", "fo", "fr", "fuv", "fy", "ga",
    "gcf", "gcr", "gd", "gl", "gom", "grc", "gu", "gug", "guw", "ha", "hbo", "he", "hi", "hr", "ht", "hu", "hy", "id",
    "ig", "is", "it", "ja", "jv", "ka", "kab", "kik", "kk", "km", "kn", "ko", "ku", "ky", "la", "lb", "lg", "lij", "ln",
    "lo", "lt", "ltg", "lv", "mg", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "nso", "oc", "om",
    "or", "pa", "pcm", "pl", "ps", "pt", "qu", "ro", "ru", "rw", "sa", "sdh", "se", "si", "sk", "sl", "sn", "so", "sq",
    "sr", "st", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "ug", "uk", "ur", "uz", "uzs", "vec", "vi",
    "vo", "wa", "wuu", "xh", "yo", "yue", "zh", "zu", "zxx",
)
# fmt: on
"""ISO 639 codes by number, as the signal `language` stores them (zxx: no language). Only ever appended to."""


class Language(RowRule):
    """Drops rows surely written in another language, and longer rows of which no language is sure.

    The default of 0.65 is FineWeb's (Penedo et al. 2024, there for a fastText model and whole documents). On a few
    words no model is sure, so an unsure row below `min_chars` is kept, and so is one without any known letter pattern.
    """

    kind: Literal["language"] = "language"
    keep: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    min_score: float = Field(default=0.65, ge=0, le=1)
    min_chars: int = Field(default=100, ge=0, description="shorter rows are dropped only where the model is sure")

    signals: ClassVar[tuple[str, ...]] = ("language", "language_score", "num_chars")
    reasons: ClassVar[dict[str, str]] = {
        "language_other": "surely written in a language that is not one of those to keep",
        "language_uncertain": "long enough to tell, yet no language is likely enough",
    }

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in keep if name not in LANGUAGES]
        if unknown:
            raise ValueError(
                f"unknown language {', '.join(map(repr, unknown))}; use ISO 639 codes: {', '.join(LANGUAGES)}"
            )
        return keep

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("language_uncertain", "language_score", "below", self.min_score),)

    def fired(self, columns: Columns) -> dict[str, np.ndarray]:
        return {"language_other": self._other(columns), **super().fired(self._tellable(columns))}

    def badness(self, columns: Columns) -> np.ndarray:
        """As for every rule; a row in another language is as bad as the model is sure of it."""
        sure = np.fmax(columns["language_score"], np.finfo(np.float32).tiny)  # never 0: the row fires
        return np.where(self._other(columns), sure, super().badness(self._tellable(columns))).astype(np.float32)

    def _other(self, columns: Columns) -> np.ndarray:
        """bool[n]: the model is sure of a language that is none of those to keep."""
        wanted = np.isin(columns["language"], [LANGUAGES.index(name) for name in self.keep])
        return (columns["language_score"] >= np.float32(self.min_score)) & ~wanted

    def _tellable(self, columns: Columns) -> Columns:
        """The columns with the score struck out where the row is short and the model unsure."""
        score = columns["language_score"]
        short = (columns["num_chars"] < self.min_chars) & (score < np.float32(self.min_score))
        return {**columns, "language_score": np.where(short, np.float32(np.nan), score)}

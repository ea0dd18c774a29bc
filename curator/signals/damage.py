"""Text that was decoded wrongly somewhere on its way. Knows shares of damaged characters."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["EncodingDamage"]


class EncodingDamage(RowRule):
    """Drops texts with too many replacement characters, misread UTF-8 or control characters.

    The limits are our own: one damaged character in two hundred is past what a single stray symbol explains.
    """

    kind: Literal["encoding_damage"] = "encoding_damage"
    max_replacement_share: float | None = Field(default=0.005, ge=0, le=1)
    max_mojibake_share: float | None = Field(default=0.005, ge=0, le=1)
    max_control_share: float | None = Field(default=0.005, ge=0, le=1)

    signals: ClassVar[tuple[str, ...]] = ("replacement_share", "mojibake_share", "control_share")
    reasons: ClassVar[dict[str, str]] = {
        "replacement_characters": "too many U+FFFD: bytes were lost in decoding",
        "mojibake": "UTF-8 was read as Latin-1 or Windows-1252",
        "control_characters": "too many control or private-use characters",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("replacement_characters", "replacement_share", "above", self.max_replacement_share),
            Bound("mojibake", "mojibake_share", "above", self.max_mojibake_share),
            Bound("control_characters", "control_share", "above", self.max_control_share),
        )

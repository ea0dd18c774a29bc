"""Pages that are mostly furniture: cookie notices, menus, licence headers. Knows shares of lines."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["Boilerplate"]


class Boilerplate(RowRule):
    """Drops texts in which too many lines carry a phrase of boilerplate or of licence text; the limits are our own."""

    kind: Literal["boilerplate"] = "boilerplate"
    max_boilerplate_line_share: float | None = Field(default=0.4, ge=0, le=1)
    max_licence_line_share: float | None = Field(default=0.4, ge=0, le=1)

    signals: ClassVar[tuple[str, ...]] = ("boilerplate_line_share", "licence_line_share")
    reasons: ClassVar[dict[str, str]] = {
        "boilerplate": "too many lines with cookie, menu or sign-up phrases",
        "licence_text": "too many lines with copyright or licence phrases",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("boilerplate", "boilerplate_line_share", "above", self.max_boilerplate_line_share),
            Bound("licence_text", "licence_line_share", "above", self.max_licence_line_share),
        )

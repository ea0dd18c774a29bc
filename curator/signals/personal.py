"""Personal data in a text: dropped where there is too much of it, else masked. Knows counts, not how it is found."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from curator.signals.types import Bound, Columns, RowRule

__all__ = ["KINDS", "PersonalData"]

KINDS: Final = ("secret", "email", "ip", "card", "phone")
"""In order of precedence where two would begin at the same place."""

Kind = Literal["secret", "email", "ip", "card", "phone"]


class PersonalData(RowRule):
    """Keeps a row with <EMAIL>, <PHONE>, <IP>, <CARD> or <SECRET> in place of what tells who somebody is or lets
    somebody in; a row that holds more of one kind than its limit is dropped. What is dropped lies in quarantine as it
    was.
    """

    kind: Literal["personal_data"] = "personal_data"
    mask: tuple[Kind, ...] = KINDS
    max_secrets: int | None = Field(default=None, ge=0)
    max_emails: int | None = Field(default=None, ge=0)
    max_ips: int | None = Field(default=None, ge=0)
    max_cards: int | None = Field(default=None, ge=0)
    max_phones: int | None = Field(default=None, ge=0)

    signals: ClassVar[tuple[str, ...]] = tuple(f"num_{kind}s" for kind in KINDS)
    reasons: ClassVar[dict[str, str]] = {
        "personal_data": "more personal data or keys than asked for",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return tuple(Bound("personal_data", f"num_{kind}s", "above", getattr(self, f"max_{kind}s")) for kind in KINDS)

    def to_mask(self, columns: Columns) -> np.ndarray:
        """bool[n]: rows that hold anything to be masked."""
        counts = [columns[f"num_{kind}s"] for kind in self.mask]
        return np.sum(np.nan_to_num(counts), axis=0) > 0 if counts else np.zeros(len(columns["num_emails"]), bool)

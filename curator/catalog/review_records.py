"""What the catalog tells of reviews: queues, items, whose turn it is, what was answered.

Knows nothing of SQL, and nothing of why a row is asked about.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from curator.errors import RequestError

__all__ = [
    "Answer",
    "ItemState",
    "Label",
    "NewItem",
    "ReviewAction",
    "ReviewItem",
    "ReviewLease",
    "ReviewQueue",
    "state_of",
]

Label = str | int | float | bool
ReviewAction = Literal["keep", "drop", "relabel"]
ItemState = Literal["open", "leased", "settled", "disputed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReviewQueue(_Record):
    """Rows of one run to look at. `settings`: how they were chosen; equal settings are the same queue. `about`: the
    manifest they lie in and what a verdict may say of them."""

    id: str
    tenant: str
    run: str
    digest: str
    settings: dict[str, Any]
    about: dict[str, Any]
    num_items: int
    created_at: dt.datetime


class NewItem(_Record):
    """`shard` and `row`: where the row lies in the queue's manifest. `verdict`: the ledger's row as JSON.
    `num_reviewers`: how many different people are to be asked."""

    sample_id: str
    why: Literal["uncertain", "audit"]
    shard: int
    row: int
    verdict: dict[str, Any]
    num_reviewers: int = 1


class ReviewLease(_Record):
    """Leave to answer one item: until `expires_at` nobody else is asked in this reviewer's stead. `token` changes with
    every claim and every answer, so an answer under an old one is refused."""

    token: str
    expires_at: dt.datetime

    @staticmethod
    def parts(token: str) -> tuple[int, int]:
        """(slot, fence). Raises RequestError for anything a claim did not give out."""
        slot, _, fence = token.partition(".")
        if not (slot.isascii() and slot.isdecimal() and fence.isascii() and fence.isdecimal() and len(token) < 32):
            raise RequestError(f"lease {token!r} was not given out by a claim; send the token of the claimed item")
        return int(slot), int(fence)


class Answer(_Record):
    """One reviewer's place at an item; `action` is None until it is answered. `token`: what a change has to show."""

    slot: int
    state: Literal["open", "leased", "answered"]
    token: str
    reviewer: str | None
    lease_until: dt.datetime | None
    action: ReviewAction | None
    label: Label | None
    note: str | None
    answered_at: dt.datetime | None


class ReviewItem(_Record):
    id: str
    queue: str
    position: int
    sample_id: str
    why: Literal["uncertain", "audit"]
    shard: int
    row: int
    verdict: dict[str, Any]
    answers: tuple[Answer, ...]

    @property
    def state(self) -> ItemState:
        return state_of(self.answers)


def state_of(answers: tuple[Answer, ...]) -> ItemState:
    """settled: everybody asked has answered, and alike. disputed: they have, and differ."""
    if all(answer.state == "answered" for answer in answers):
        return "settled" if len({(answer.action, answer.label) for answer in answers}) == 1 else "disputed"
    return "leased" if any(answer.state == "leased" for answer in answers) else "open"

"""Pages of a list: a cursor is an opaque token over the sort key, so a page never shifts when rows are added.

Knows nothing of tables.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from curator.errors import RequestError

__all__ = ["MAX_LIMIT", "Page", "checked_limit", "decode_cursor", "encode_cursor", "page_of"]

MAX_LIMIT: Final = 1000

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some items and the token for the ones after them; `next_cursor` is None at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[T, ...]
    next_cursor: str | None = None


def checked_limit(limit: int) -> int:
    """The limit itself. Raises RequestError outside 1..1000: a cut list would look like a whole one."""
    if not 1 <= limit <= MAX_LIMIT:
        raise RequestError(f"limit {limit} is outside 1..{MAX_LIMIT}; ask for fewer and follow next_cursor")
    return limit


def encode_cursor(key: Sequence[str | int | float]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: Sequence[type]) -> list[Any]:
    """The sort key inside a token. Raises RequestError if it is not one this list gave out."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        key = None
    fits = isinstance(key, list) and len(key) == len(kinds) and all(map(isinstance, key, kinds))
    if not fits or not all(map(_storable, key)):
        raise RequestError(f"cursor {cursor!r} was not given out by this list; start again without a cursor")
    return key


def _storable(part: Any) -> bool:
    """Whether every database can be asked for it: no NUL or lone surrogate, no number above 63 bits."""
    if isinstance(part, str):
        return "\0" not in part and not any("\ud800" <= letter <= "\udfff" for letter in part)
    return isinstance(part, float) or -(2**63) <= part < 2**63


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], Sequence[str | int | float]]) -> Page[T]:
    """A page from up to `limit + 1` rows: the extra row only says that there are more."""
    more = len(rows) > limit
    items = tuple(rows[:limit])
    return Page(items=items, next_cursor=encode_cursor(key(items[-1])) if more else None)

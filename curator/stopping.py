"""A stop that somebody asked for, heard inside long work: `listening` stands around the work, `hear` in its loops.

Knows nothing of who asks or what the work is. Work on another thread or in another process does not hear it there;
who waits for such work asks while he waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from curator.errors import RetryableError, StoppedError
from curator.run import StopRequest

__all__ = ["Ask", "hear", "listening"]

Ask = Callable[[], StopRequest | None]
"""What was asked for, None to go on; cheap enough to be called in every turn of a loop."""

_ask: Final[ContextVar[Ask | None]] = ContextVar("ask", default=None)


@contextmanager
def listening(ask: Ask) -> Iterator[None]:
    """Inside the block, `hear` puts the question to `ask`; it is put once before the block begins. Raises
    StoppedError."""
    token = _ask.set(ask)
    try:
        hear()
        yield
    finally:
        _ask.reset(token)


def hear() -> None:
    """Raises StoppedError if a stop was asked for, and what else the question raises (a lost lease); where nobody
    listens, nothing. A question that does not get through is put again in the next turn."""
    ask = _ask.get()
    if ask is None:
        return
    try:
        request = ask()
    except RetryableError:
        return
    if request is not None:
        raise StoppedError(request)

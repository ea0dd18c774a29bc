"""A run's events as server-sent events: replayed from the outbox, then followed until the run ends, the key that opened
the stream does, or the server.

Knows the form of a stream; an event's id is its number in the outbox, so any worker can go on where another stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from anyio import to_thread
from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import StreamingResponse

from api.auth import Caller, still_opens
from api.service import Service
from curator.errors import RequestError

__all__ = ["EventStream", "run_events", "sequence_of"]

KEEP_ALIVE_S: Final = 15.0
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""The second keeps a proxy from collecting events."""


class EventStream(StreamingResponse):
    """Events as bytes, sent as they are. (FastAPI's own class would take each through two queues to write it.)"""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]):
        super().__init__(events, headers=_HEADERS)


def sequence_of(last_event_id: str | None) -> int:
    """The number in a Last-Event-ID header, 0 without one. Raises RequestError for anything else."""
    if last_event_id is None or last_event_id == "":
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise RequestError(
            f"Last-Event-ID {last_event_id!r} was not given out here; leave it out to start at the beginning"
        )
    return int(last_event_id)


async def run_events(service: Service, caller: Caller, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Events of one run numbered above `after`, oldest first; ends once the run has ended and all are told, soon after
    the caller's key was revoked or has expired, and when the server is told to end."""
    outbox, asked_at = service.outbox, time.monotonic()
    async with outbox.listening(run_id) as bell:
        while not outbox.ended:
            bell.clear()
            news = await outbox.after(caller.tenant, run_id, after)
            after = news.last
            if news.wire:
                yield news.wire
            elif news.ended:
                return
            if not (news.more or news.ended or outbox.ended) and (alive := await _rung(bell)):
                yield alive
            if time.monotonic() - asked_at >= KEEP_ALIVE_S:  # told or not: a run may tell something every second
                asked_at = time.monotonic()
                if not await to_thread.run_sync(still_opens, service, caller):
                    return


async def _rung(bell: asyncio.Event) -> bytes:
    """Nothing, once there is news; a sign of life when there has been none for long."""
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            await bell.wait()
    except TimeoutError:
        return KEEPALIVE_COMMENT
    return b""

"""A run's events as server-sent events: replayed from the outbox, then followed until the run ends.

Knows the outbox; an event's id is its number there, so any worker can go on where another stopped.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
from anyio import to_thread
from fastapi.sse import ServerSentEvent

from api.service import Service
from curator.catalog import Event, Run
from curator.errors import RequestError
from curator.run import TERMINAL

__all__ = ["run_events", "sequence_of"]

POLL_S: Final = 0.25
KEEP_ALIVE_S: Final = 15.0
_PAGE: Final = 500


def sequence_of(last_event_id: str | None) -> int:
    """The number in a Last-Event-ID header, 0 without one. Raises RequestError for anything else."""
    if last_event_id is None or last_event_id == "":
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise RequestError(
            f"Last-Event-ID {last_event_id!r} was not given out here; leave it out to start at the beginning"
        )
    return int(last_event_id)


async def run_events(service: Service, tenant: str, run_id: str, after: int) -> AsyncIterator[ServerSentEvent]:
    """Events of one run numbered above `after`, oldest first; ends once the run has ended and all are told."""
    quiet_since = time.monotonic()
    while True:
        run: Run = await to_thread.run_sync(
            service.catalog.runs.get, tenant, run_id
        )  # before its events: none is missed
        events = await to_thread.run_sync(_after, service, tenant, run_id, after)
        for event in events:
            after = event.sequence
            yield ServerSentEvent(id=str(event.sequence), event=event.kind, data=_data(event))
        if events:
            quiet_since = time.monotonic()
        elif run.state in TERMINAL:
            return
        else:
            if time.monotonic() - quiet_since >= KEEP_ALIVE_S:
                quiet_since = time.monotonic()
                yield ServerSentEvent(comment="still here")
            await anyio.sleep(POLL_S)


def _after(service: Service, tenant: str, run_id: str, sequence: int) -> list[Event]:
    return service.catalog.events.after(tenant, sequence, subject=run_id, limit=_PAGE)


def _data(event: Event) -> dict[str, Any]:
    summary = event.data.get("summary")
    data = {**event.data, "run": event.subject, "at": event.at.isoformat().replace("+00:00", "Z")}
    if summary:
        data["summary"] = {**summary, "ledger": f"/v1/runs/{event.subject}/decisions"}
    return data

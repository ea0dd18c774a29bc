"""Listening to the catalog's outbox: one look for all who listen, and each page of events read once for them.

Knows events, the states of runs and the form of an event stream; nothing of who listens.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final

from anyio import to_thread
from fastapi.sse import format_sse_event

from curator.catalog import Catalog, Event
from curator.errors import WinnowError
from curator.run import TERMINAL

__all__ = ["News", "Outbox"]

log: Final = logging.getLogger("winnow.api")
LOOK_EVERY_S: Final = 0.25
AFTER_A_FAULT_S: Final = 5.0
_PAGE: Final = 500
_MOST_PAGES: Final = 256
_RUNG_AT_ONCE, _BREATH_S = 10, 0.01


@dataclass(frozen=True)
class News:
    """Events of a run above a number, oldest first, as bytes of an event stream, written once for all who listen.
    `last`: the newest one's number. `more`: others may be there already. `ended`: the run had, before."""

    wire: bytes
    last: int
    more: bool
    ended: bool


class Outbox:
    """One process's ear. `listening` gives a bell that is rung when a run has news; `after` tells them. `ended`: the
    process is told to end, and whoever listens comes back to another."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._newest: dict[str, int] = {}
        self._pages: OrderedDict[tuple[str, str, int, int], asyncio.Task[News]] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[None] | None = None
        self.ended = False

    def end(self) -> None:
        """Rings every bell a last time. In the loop that listens."""
        self.ended = True
        for bell in chain.from_iterable(self._bells.values()):
            bell.set()

    @asynccontextmanager
    async def listening(self, run_id: str) -> AsyncIterator[asyncio.Event]:
        """A bell for news of this run from now on: what is asked of `after` inside the block misses nothing."""
        bell = asyncio.Event()
        self._bells.setdefault(run_id, set()).add(bell)
        try:
            if self._looking is None or self._looking.done():
                self._begun = asyncio.get_running_loop().create_future()
                self._looking = asyncio.create_task(self._look(self._begun))
            assert self._begun is not None
            await asyncio.shield(self._begun)
            yield bell
        finally:
            self._bells[run_id].discard(bell)
            if not self._bells[run_id]:
                del self._bells[run_id]

    async def after(self, tenant: str, run_id: str, sequence: int) -> News:
        """What happened to the run above this number; read once for all listeners who have come as far. Raises
        NotFoundError, RetryableError."""
        key = (tenant, run_id, sequence, self._newest.get(run_id, 0))
        page = self._pages.get(key)
        if page is None or (page.done() and (page.cancelled() or page.exception() is not None)):
            page = self._pages[key] = asyncio.create_task(to_thread.run_sync(self._read, tenant, run_id, sequence))
            while len(self._pages) > _MOST_PAGES:
                self._pages.popitem(last=False)
        return page.result() if page.done() else await asyncio.shield(page)

    def _read(self, tenant: str, run_id: str, sequence: int) -> News:
        run = self._catalog.runs.get(tenant, run_id)  # before its events: none is missed
        events = self._catalog.events.after(tenant, sequence, subject=run_id, limit=_PAGE)
        last = events[-1].sequence if events else sequence
        return News(b"".join(map(_told, events)), last, more=len(events) == _PAGE, ended=run.state in TERMINAL)

    async def _look(self, begun: asyncio.Future[None]) -> None:
        """Looks while anybody listens; what it remembers ends with it."""
        self._newest.clear()
        self._pages.clear()
        last: int | None = None
        while self._bells:
            pause_s = LOOK_EVERY_S
            try:
                if last is None:
                    last = await to_thread.run_sync(self._catalog.events.newest)
                for subject, sequence in (await to_thread.run_sync(self._catalog.events.moved, last)).items():
                    last = max(last, sequence)
                    self._newest[subject] = sequence
                    await self._ring(subject)
                if not begun.done():
                    begun.set_result(None)
            except WinnowError as error:
                log.warning("the outbox cannot be read, looking again: %s", error)
            except Exception:  # whoever listens waits for this task
                log.exception("the outbox could not be read, looking again in %g s", AFTER_A_FAULT_S)
                pause_s = AFTER_A_FAULT_S
            await asyncio.sleep(pause_s)

    async def _ring(self, subject: str) -> None:
        """A few at a time: whoever else is served meanwhile does not wait for all of them."""
        for number, bell in enumerate(list(self._bells.get(subject, ()))):
            bell.set()
            if number % _RUNG_AT_ONCE == _RUNG_AT_ONCE - 1:
                await asyncio.sleep(_BREATH_S)


def _told(event: Event) -> bytes:
    summary = event.data.get("summary")
    data = {**event.data, "run": event.subject, "at": event.at.isoformat().replace("+00:00", "Z")}
    if summary:
        data["summary"] = {**summary, "ledger": f"/v1/runs/{event.subject}/decisions"}
    return format_sse_event(id=str(event.sequence), event=event.kind, data_str=json.dumps(data))

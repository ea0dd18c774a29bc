"""Many listeners, one ear: all hear everything once, also over a restart of the service."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.outbox import Outbox
from curator.catalog import Catalog, Event, Scope
from curator.run import Progress, RunRequest
from curator.settings import Settings
from tests.api.routes.test_runs import claimed, events

LISTENERS = 30


def test_all_listeners_hear_all_of_it_and_the_outbox_is_read_once_for_them(
    house: Any, queued: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    after = house.service.catalog.events.after

    def counted(tenant: str, sequence: int, **options: Any) -> list[Event]:
        reads.append(sequence)
        return after(tenant, sequence, **options)

    monkeypatch.setattr(house.service.catalog.events, "after", counted)
    heard: list[list[dict[str, Any]]] = []

    def listen() -> None:
        with httpx.Client(base_url=house.url, headers=dict(house.one.headers), timeout=60) as client:
            heard.append(list(events(client, queued["id"])))

    threads = [threading.Thread(target=listen) for _ in range(LISTENERS)]
    for thread in threads:
        thread.start()
    while house.service.allowances.streams.num_open < LISTENERS:
        time.sleep(0.01)
    run = claimed(house, queued["id"])
    for rows in range(3):
        house.service.catalog.runs.heartbeat(run, 60.0, Progress(phase="score", rows_done=rows))
        time.sleep(0.4)
    house.one.post(f"/v1/runs/{queued['id']}:cancel")
    house.service.catalog.runs.release(run, "over")
    for thread in threads:
        thread.join()
    assert len(heard) == LISTENERS
    for told in heard:
        states = [event["data"]["to_state"] for event in told if event["event"] == "run.state"]
        assert states == ["queued", "validating", "cancelling", "cancelled"]
        assert [event["data"]["progress"]["rows_done"] for event in told if event["event"] == "run.progress"][-1] == 2
        numbers = [int(event["id"]) for event in told]
        assert numbers == sorted(set(numbers))
    assert len(reads) < 2 * LISTENERS


def test_a_quiet_stream_shows_a_sign_of_life(
    house: Any, queued: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.event_stream.KEEP_ALIVE_S", 0.1)
    with house.one.stream("GET", f"/v1/runs/{queued['id']}/events") as answer:
        lines = answer.iter_lines()
        while not next(lines).startswith(": "):
            pass


@pytest.mark.parametrize("how", ["revoked", "expired"])
@pytest.mark.parametrize("busy", [False, True])
def test_a_stream_ends_with_the_key_that_opened_it(
    house: Any, queued: dict[str, Any], monkeypatch: pytest.MonkeyPatch, how: str, busy: bool
) -> None:
    monkeypatch.setattr("api.event_stream.KEEP_ALIVE_S", 0.5)
    catalog = house.service.catalog
    key, secret = catalog.keys.create(house.tenant, "watcher", [Scope.READ], ttl_s=2.0 if how == "expired" else None)
    run = claimed(house, queued["id"]) if busy else None
    path, deadline = f"/v1/runs/{queued['id']}/events", time.monotonic() + 20
    with house.nobody.stream("GET", path, headers={"X-API-Key": secret}) as answer:
        assert answer.status_code == 200
        for number, _ in enumerate(answer.iter_lines()):
            assert time.monotonic() < deadline, "it goes on"
            if number == 3 and how == "revoked":
                catalog.keys.revoke(house.tenant, key.id)
            if run is not None:  # there is always something to tell
                catalog.runs.heartbeat(run, 60.0, Progress(phase="score", rows_done=number))
    assert house.nobody.get(path, headers={"X-API-Key": secret}).status_code == 401
    if run is not None:
        catalog.runs.release(run, "over")


def test_a_listener_goes_on_over_a_restart(tmp_path: Path, serve: Any) -> None:
    settings = Settings(root=str(tmp_path))
    with Catalog.open(settings.database_url) as catalog:
        request = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
        run = catalog.runs.create("local", request)
        told: list[dict[str, Any]] = []
        for turn in range(3):
            for url in serve(create_app(settings)):
                with httpx.Client(base_url=url, timeout=60) as client:
                    stream = events(client, run.id, told[-1]["id"] if told else None)
                    if turn == 0:
                        told.append(next(stream))
                    elif turn == 1:
                        held = catalog.runs.claim("a runner", 60.0)
                        assert held is not None
                        told.append(next(stream))
                        catalog.runs.release(held, "back")  # nobody listens when this is told
                    else:
                        catalog.runs.request_stop("local", run.id, "cancel")
                        told += list(stream)
                    stream.close()  # type: ignore[attr-defined]
        states = [event["data"]["to_state"] for event in told]
        assert states == ["queued", "validating", "queued", "cancelled"]
        assert [int(event["id"]) for event in told] == [event.sequence for event in catalog.events.after("local", 0)]


@pytest.mark.parametrize("part", ["newest", "moved"])
def test_listeners_are_told_after_a_fault_nobody_foresaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("api.outbox.AFTER_A_FAULT_S", 0.01, raising=False)
    with Catalog.open(Settings(root=str(tmp_path)).database_url) as catalog:
        whole, faults = getattr(catalog.events, part), [ValueError("unforeseen")]

        def faulty(*arguments: Any) -> Any:
            if faults:
                raise faults.pop()
            return whole(*arguments)

        async def hears() -> bool:
            outbox = Outbox(catalog)
            async with asyncio.timeout(10), outbox.listening("run_1"):
                run = await asyncio.to_thread(
                    catalog.runs.create, "local", RunRequest(inputs=("a.parquet",), recipe={"task": "text"})
                )
                async with outbox.listening(run.id) as bell:
                    faults.append(ValueError("another"))
                    await asyncio.to_thread(catalog.runs.request_stop, "local", run.id, "cancel")
                    return await bell.wait()

        monkeypatch.setattr(catalog.events, part, faulty)
        assert asyncio.run(hears())

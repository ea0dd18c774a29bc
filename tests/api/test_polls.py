"""Polls are answered as the routes answer, from the newest version, and one look serves all who wait."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from api.polls import Polls
from curator.catalog import Scope
from curator.errors import TransportError
from curator.run import Progress

ALL_STATES = "&".join(f"state={state}" for state in ("queued", "validating", "running", "succeeded", "cancelled"))


def test_what_is_told_is_what_the_routes_tell(house: Any, finished: dict[str, Any], queued: dict[str, Any]) -> None:
    from api.run_views import metrics_view, run_errors, run_view

    catalog, store = house.service.catalog, house.service.store
    for run_id in (finished["id"], queued["id"]):
        run = catalog.runs.get(house.tenant, run_id)
        history = catalog.runs.history(house.tenant, run_id)
        views = {"": run_view(run, store), "/metrics": metrics_view(run, store)}
        views["/errors"] = run_errors(run, history, store)
        for part, view in views.items():
            answer = house.one.get(f"/v1/runs/{run_id}{part}")
            assert answer.text == view.model_dump_json()
            assert answer.headers["etag"] == f'"{run.version}"'
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "content-security-policy" in answer.headers
    polled, routed = house.one.get("/v1/runs?limit=3"), house.one.get(f"/v1/runs?limit=3&{ALL_STATES}&state=failed")
    assert polled.json() == routed.json() and polled.headers["etag"] == routed.headers["etag"]


def test_a_change_is_told_to_the_next_who_asks(house: Any, queued: dict[str, Any]) -> None:
    address, runs = f"/v1/runs/{queued['id']}", house.service.catalog.runs
    claimed = runs.claim_this(house.tenant, queued["id"], "a test", 60.0)
    for turn in range(20):
        before = {path: house.one.get(path).headers["etag"] for path in (address, f"{address}/metrics", "/v1/runs")}
        runs.heartbeat(claimed, 60.0, Progress(phase="score", rows_total=99, rows_done=turn))
        for path, tag in before.items():
            answer = house.one.get(path, headers={"If-None-Match": tag})
            assert answer.status_code == 200 and f'"rows_done":{turn}' in answer.text
            same = house.one.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (same.status_code, same.content) == (304, b"")
    runs.release(claimed, "the test is over")


def test_who_may_not_read_is_told_by_the_routes(house: Any, finished: dict[str, Any]) -> None:
    address = f"/v1/runs/{finished['id']}"
    etag = {"If-None-Match": house.one.get(address).headers["etag"]}
    for path in (address, f"{address}/metrics", f"{address}/errors"):
        assert house.two.get(path, headers=etag).status_code == 404
        assert house.nobody.get(path, headers=etag).status_code == 401
        assert house.client([Scope.FEEDBACK]).get(path, headers=etag).status_code == 403
    assert house.one.get("/v1/runs/run_0").status_code == 404
    assert house.one.get(f"{address}?limit=3").status_code == 400
    assert house.one.get("/v1/runs?limit=0").status_code == 422
    assert house.two.get("/v1/runs").json()["items"] == []


def test_a_revoked_key_opens_nothing_from_then_on(house: Any, finished: dict[str, Any]) -> None:
    key, secret = house.service.catalog.keys.create(house.tenant, "short", [Scope.READ])
    with httpx.Client(base_url=house.url, headers={"X-API-Key": secret}) as client:
        for _ in range(2):
            assert client.get(f"/v1/runs/{finished['id']}").status_code == 200
        house.service.catalog.keys.revoke(house.tenant, key.id)
        assert client.get(f"/v1/runs/{finished['id']}").status_code == 401


def test_a_person_who_polls_too_much_is_slowed_down(
    house: Any, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.limits import Buckets

    client = house.client([Scope.READ])
    client.get(f"/v1/runs/{finished['id']}")
    with monkeypatch.context() as patch:
        patch.setattr(house.service.requests, "_left", Buckets(1, 1)._left)
        patch.setattr(house.service.requests, "_burst", 3.0)
        patch.setattr(house.service.requests, "_per_s", 0.01)
        statuses = [client.get(f"/v1/runs/{finished['id']}").status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 429, 429, 429]


def test_many_who_wait_are_served_by_few_looks(
    house: Any, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    versions = house.service.catalog.runs.versions

    def counted(run_ids: Any) -> Any:
        looks.append(len(run_ids))
        return versions(run_ids)

    monkeypatch.setattr(house.service.catalog.runs, "versions", counted)
    answers: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=house.url, headers=dict(house.one.headers)) as client:
            answers.extend(client.get(f"/v1/runs/{finished['id']}").status_code for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 80
    assert len(looks) < 80


def test_a_catalog_that_is_away_is_a_problem_not_a_wait(
    house: Any, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise TransportError("the catalog does not answer")

    monkeypatch.setattr(house.service.catalog.runs, "versions", away)
    monkeypatch.setattr(house.service.catalog.runs, "get", away)
    answer = house.one.get(f"/v1/runs/{finished['id']}")
    assert (answer.status_code, answer.json()["code"]) == (503, "transport")


def test_polls_are_counted_under_their_routes(house: Any, finished: dict[str, Any]) -> None:
    for part in ("", "/metrics", "/errors"):
        house.one.get(f"/v1/runs/{finished['id']}{part}")
        counted = house.service.traffic.requests
        assert counted["GET", f"/v1/runs/{{run_id}}{part}", 200] > 0
    house.one.get("/v1/runs")
    assert house.service.traffic.requests["GET", "/v1/runs", 200] > 0


def test_bodies_kept_are_bounded_in_bytes(
    house: Any, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    polls = house.app.middleware_stack
    while not isinstance(polls, Polls):
        polls = polls.app
    whole = house.one.get("/v1/runs?limit=1").content
    most = 5 * len(whole)
    monkeypatch.setattr("api.polls._MOST_BYTES", most)
    for limit in range(100, 130):
        assert house.one.get(f"/v1/runs?limit={limit}").status_code == 200
    held = sum(len(body) for _, body, _ in polls._bodies.values())
    assert held == polls._held_bytes <= most

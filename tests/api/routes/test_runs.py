"""Runs: asked for once, watched with ETags, stopped and resumed, their events replayed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from curator.catalog import ClaimedRun, RunFault, Scope
from curator.run import Progress, RunState

LEARNED = {"task": "text", "columns": {"text": "text"}, "policy": {"kind": "learned"}}
RECIPE = {"task": "text", "columns": {"text": "text"}, "process": ["exact_duplicates"]}


def claimed(house: Any, run_id: str) -> ClaimedRun:
    """The run, as a runner would hold it."""
    return house.service.catalog.runs.claim_this(house.tenant, run_id, "a test", 60.0)  # type: ignore[no-any-return]


def test_a_run_is_accepted_with_its_address(house: Any, queued: dict[str, Any], dataset: dict[str, Any]) -> None:
    assert queued["state"] == "queued" and queued["poll_after_ms"] > 0
    assert (queued["dataset"], queued["dataset_name"], queued["recipe"]) == (dataset["id"], "documents", None)
    made = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": RECIPE, "seed": 7})
    assert made.status_code == 202
    assert made.headers["location"] == f"/v1/runs/{made.json()['id']}"
    assert int(made.headers["retry-after"]) > 0
    assert made.json()["seed"] == 7
    assert house.one.get(made.headers["location"]).json() == made.json()
    house.one.post(f"{made.headers['location']}:cancel")


def test_no_answer_tells_the_servers_folders(house: Any, finished: dict[str, Any]) -> None:
    for path in ("", "/metrics", "/errors", "/decisions?limit=5&rows=true"):
        answer = house.one.get(f"/v1/runs/{finished['id']}{path}")
        assert answer.status_code == 200 and house.service.store.base not in answer.text
    assert finished["summary"]["ledger"] == f"/v1/runs/{finished['id']}/decisions"


def test_asking_twice_with_a_key_makes_one_run(house: Any, dataset: dict[str, Any]) -> None:
    body, key = {"dataset": dataset["id"], "recipe": RECIPE}, {"Idempotency-Key": "runs-once"}
    first, second = (house.one.post("/v1/runs", json=body, headers=key) for _ in range(2))
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json() and "idempotent-replayed" in second.headers
    other = house.one.post("/v1/runs", json={**body, "seed": 1}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    two = house.two.post("/v1/runs", json=body, headers=key)
    assert two.status_code == 404  # keys are each tenant's own: no replay of another's answer
    house.one.post(f"/v1/runs/{first.json()['id']}:cancel")


def test_the_same_key_at_the_same_time_makes_one_run(house: Any, dataset: dict[str, Any]) -> None:
    body, answers = {"dataset": dataset["id"], "recipe": RECIPE}, []

    def ask() -> None:
        with httpx.Client(base_url=house.url, headers=dict(house.one.headers)) as client:
            answers.append(client.post("/v1/runs", json=body, headers={"Idempotency-Key": "runs-race"}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(made) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    house.one.post(f"/v1/runs/{made.pop()}:cancel")


def test_a_refused_request_frees_its_key(house: Any, dataset: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "runs-refused"}
    body = {"dataset": dataset["id"], "recipe": "nothing"}
    assert house.one.post("/v1/runs", json=body, headers=key).status_code == 422
    again = house.one.post("/v1/runs", json={**body, "recipe": RECIPE}, headers=key)
    assert again.status_code == 202
    house.one.post(f"/v1/runs/{again.json()['id']}:cancel")


def test_a_dataset_whose_upload_was_deleted_is_refused_at_once(house: Any, send: Any) -> None:
    upload = send(house.one, b'{"text": "a"}\n', "rows.jsonl")
    made = house.one.post("/v1/datasets", json={"upload_ids": [upload]}).json()
    house.one.delete(f"/v1/uploads/{upload}")
    before = house.one.get("/v1/runs").json()["items"]
    refused = house.one.post("/v1/runs", json={"dataset": made["id"], "recipe": RECIPE})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    told = refused.json()["detail"]
    assert "rows.jsonl is gone" in told and upload in told and "upload it again" in told
    assert house.service.store.base not in told
    assert house.one.get("/v1/runs").json()["items"] == before


def test_a_trusted_dataset_whose_upload_was_deleted_is_refused_at_once(
    house: Any, send: Any, dataset: dict[str, Any]
) -> None:
    upload = send(house.one, b'{"text": "a"}\n', "trusted.jsonl")
    trusted = house.one.post("/v1/datasets", json={"upload_ids": [upload]}).json()
    house.one.delete(f"/v1/uploads/{upload}")
    body = {"dataset": dataset["id"], "recipe": RECIPE, "trusted": trusted["id"]}
    refused = house.one.post("/v1/runs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict"), refused.text
    assert "trusted.jsonl is gone" in refused.json()["detail"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_is_short_and_printable(house: Any, dataset: dict[str, Any], key: str) -> None:
    body = {"dataset": dataset["id"], "recipe": RECIPE}
    assert house.one.post("/v1/runs", json=body, headers={"Idempotency-Key": key}).status_code == 400


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"dataset": "ds_nobody"}, 404, "ds_nobody"),
        ({"recipe": {**RECIPE, "columns": {"text": "txt"}}}, 422, "did you mean 'text'"),
        ({"recipe": {**RECIPE, "where": {"split": "train"}}}, 422, "where.split"),
        (
            {"recipe": {**RECIPE, "process": [{"decontaminate": {"files": ["/etc/passwd"]}}]}},
            422,
            "a server reads none",
        ),
        ({"trusted": "upl_nobody"}, 404, "upl_nobody"),
        ({"feedback": ["trn_nobody"]}, 422, "policy.kind is 'rules'"),
        ({"feedback": ["trn_nobody"], "recipe": LEARNED}, 404, "trn_nobody"),
        ({"trusted": "trusted.parquet"}, 422, "give an upload"),
        ({"engine": "spark"}, 422, "engine"),
        ({"seed": -1}, 422, "seed"),
        ({"priority": 101}, 422, "priority"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_queued(
    house: Any, dataset: dict[str, Any], change: dict[str, Any], status: int, word: str
) -> None:
    before = house.one.get("/v1/runs?limit=1").json()["items"][:1]
    answer = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": RECIPE, **change})
    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]
    assert house.one.get("/v1/runs?limit=1").json()["items"][:1] == before


def test_a_run_goes_on_from_an_earlier_one_of_the_same_tenant_alone(
    house: Any, dataset: dict[str, Any], finished: dict[str, Any], queued: dict[str, Any]
) -> None:
    def asked(client: httpx.Client, earlier: str, **more: Any) -> httpx.Response:
        recipe = {**RECIPE, "process": [{"exact_duplicates": {"against": earlier}}], **more}
        return client.post("/v1/runs", json={"dataset": dataset["id"], "recipe": recipe})

    answer = asked(house.one, finished["id"])
    assert answer.status_code == 202, answer.text
    house.one.post(f"/v1/runs/{answer.json()['id']}:cancel")
    assert asked(house.one, queued["id"]).status_code == 409
    assert asked(house.one, f"run_{'0' * 32}").status_code == 404
    assert asked(house.one, "../../etc").status_code == 422
    others = house.two.post("/v1/runs", json={"dataset": dataset["id"], "recipe": RECIPE})
    assert asked(house.two, finished["id"]).status_code == others.status_code == 404


def test_polling_an_unchanged_run_costs_nothing(house: Any, queued: dict[str, Any]) -> None:
    for path in ("", "/metrics", "/errors"):
        first = house.one.get(f"/v1/runs/{queued['id']}{path}")
        same = {"If-None-Match": first.headers["etag"]}
        again = house.one.get(f"/v1/runs/{queued['id']}{path}", headers=same)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    weak = {"If-None-Match": f'"x", W/{house.one.get("/v1/runs/" + queued["id"]).headers["etag"]}'}
    assert house.one.get(f"/v1/runs/{queued['id']}", headers=weak).status_code == 304


def test_a_changed_run_has_another_tag(house: Any, queued: dict[str, Any]) -> None:
    address = f"/v1/runs/{queued['id']}"
    first = house.one.get(address).headers["etag"]
    run = claimed(house, queued["id"])
    house.service.catalog.runs.heartbeat(run, 60.0, Progress(phase="score", rows_total=9, rows_done=3, dropped=1))
    after = house.one.get(address, headers={"If-None-Match": first})
    assert after.status_code == 200
    assert after.json()["progress"]["rows_done"] == 3
    metrics = house.one.get(f"{address}/metrics").json()
    assert (metrics["phase"], metrics["rows_done"], metrics["actions"]["drop"]) == ("score", 3, 1)


def test_if_match_guards_an_order(house: Any, queued: dict[str, Any]) -> None:
    address = f"/v1/runs/{queued['id']}"
    stale = house.one.post(f"{address}:cancel", headers={"If-Match": '"99"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    fresh = house.one.post(f"{address}:cancel", headers={"If-Match": house.one.get(address).headers["etag"]})
    assert (fresh.status_code, fresh.json()["state"]) == (202, "cancelled")


def test_a_run_that_goes_first_needs_an_admin_key(house: Any, dataset: dict[str, Any]) -> None:
    writer = house.client([Scope.WRITE, Scope.READ])
    body = {"dataset": dataset["id"], "recipe": RECIPE}
    refused = writer.post("/v1/runs", json={**body, "priority": 1})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    for client, priority in ((writer, -5), (house.one, 5)):
        made = client.post("/v1/runs", json={**body, "priority": priority})
        assert (made.status_code, made.json()["priority"]) == (202, priority)
        house.one.post(f"/v1/runs/{made.json()['id']}:cancel")


def test_a_run_is_paused_and_resumed(house: Any, queued: dict[str, Any]) -> None:
    address = f"/v1/runs/{queued['id']}"
    assert house.one.post(f"{address}:pause").status_code == 409  # nobody works on it yet
    run = claimed(house, queued["id"])
    assert house.one.post(f"{address}:pause").json()["state"] == "pausing"
    house.service.catalog.runs.release(run, "paused by the test")
    assert house.one.get(address).json()["state"] == "paused"
    assert house.one.post(f"{address}:resume").json()["state"] == "queued"
    assert house.one.post(f"{address}:resume").status_code == 409


def test_a_failed_run_tells_why_and_is_retried(house: Any, queued: dict[str, Any]) -> None:
    address = f"/v1/runs/{queued['id']}"
    run = claimed(house, queued["id"])
    told = f"cannot read {house.service.store.base}/uploads/x/data.parquet"
    house.service.catalog.runs.fail(run, RunFault(code="disk_full", message=told, resumable=True))
    errors = house.one.get(f"{address}/errors").json()
    assert errors["error"] == {"code": "disk_full", "message": "cannot read uploads/x/data.parquet", "resumable": True}
    assert [item["state"] for item in errors["items"]] == ["failed"]
    assert house.one.get(address).json()["poll_after_ms"] is None
    retried = house.one.post(f"{address}:retry")
    assert (retried.json()["state"], retried.json()["attempt"]) == ("queued", 2)


def test_a_finished_run_cannot_be_stopped(house: Any, finished: dict[str, Any]) -> None:
    for order in ("cancel", "pause", "resume", "retry"):
        assert house.one.post(f"/v1/runs/{finished['id']}:{order}").status_code == 409


def test_metrics_of_a_finished_run_add_up(house: Any, finished: dict[str, Any]) -> None:
    metrics = house.one.get(f"/v1/runs/{finished['id']}/metrics").json()
    assert metrics["rows_done"] == metrics["rows_total"] == 240
    assert metrics["actions"]["keep"] + metrics["actions"]["drop"] == 240
    assert sum(metrics["reasons"].values()) == metrics["actions"]["drop"] > 0
    assert sum(metrics["difficulty"].values()) == metrics["actions"]["keep"]
    assert set(metrics["seconds_by_phase"]) >= {"score", "decide", "write"}
    assert metrics["scorecard"] and metrics["poll_after_ms"] is None


def test_runs_are_listed_newest_first_and_by_state(
    house: Any, queued: dict[str, Any], finished: dict[str, Any]
) -> None:
    listed = house.one.get("/v1/runs?limit=1").json()
    assert listed["items"][0]["id"] == queued["id"] and listed["next_cursor"]
    following = house.one.get(f"/v1/runs?cursor={listed['next_cursor']}").json()
    assert queued["id"] not in {item["id"] for item in following["items"]}
    done = house.one.get("/v1/runs?state=succeeded").json()["items"]
    assert {item["state"] for item in done} == {"succeeded"}
    both = house.one.get("/v1/runs?state=succeeded&state=queued").json()["items"]
    assert {queued["id"], finished["id"]} <= {item["id"] for item in both}
    assert house.one.get("/v1/runs?state=done").status_code == 422


def events(client: httpx.Client, run_id: str, last: str | None = None) -> Iterator[dict[str, Any]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for number, line in enumerate(answer.iter_lines()):
            assert number < 500, "events repeat themselves"
            name, _, value = line.partition(": ")
            if name in ("id", "event"):
                event[name] = value
            elif name == "data":
                event["data"] = json.loads(value)
            elif not line and "data" in event:
                yield event
                event = {}


def test_events_are_told_from_the_beginning_and_end_with_the_run(house: Any, finished: dict[str, Any]) -> None:
    told = list(events(house.one, finished["id"]))
    states = [event["data"]["to_state"] for event in told if event["event"] == "run.state"]
    assert states == ["queued", "validating", "running", "finalizing", "succeeded"]
    assert [int(event["id"]) for event in told] == sorted({int(event["id"]) for event in told})
    assert told[-1]["data"]["summary"]["ledger"].startswith("/v1/runs/")


def test_a_listener_who_comes_back_misses_and_repeats_nothing(house: Any, finished: dict[str, Any]) -> None:
    told = list(events(house.one, finished["id"]))
    for place in range(len(told)):
        assert list(events(house.one, finished["id"], told[place]["id"])) == told[place + 1 :]


def test_events_come_while_the_run_goes_on(house: Any, queued: dict[str, Any]) -> None:
    stream = events(house.one, queued["id"])
    assert next(stream)["data"]["to_state"] == "queued"
    run = claimed(house, queued["id"])
    assert next(stream)["data"]["to_state"] == "validating"
    house.service.catalog.runs.heartbeat(run, 60.0, Progress(phase="score", rows_done=5))
    event = next(stream)
    assert (event["event"], event["data"]["progress"]["rows_done"]) == ("run.progress", 5)
    house.one.post(f"/v1/runs/{queued['id']}:cancel")
    house.service.catalog.runs.release(run, "stopped by the test")
    assert [event["data"]["to_state"] for event in stream] == [RunState.CANCELLING, RunState.CANCELLED]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_a_foreign_event_id_is_a_problem_not_a_broken_stream(house: Any, finished: dict[str, Any], last: str) -> None:
    answer = house.one.get(f"/v1/runs/{finished['id']}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_a_listener_who_leaves_frees_the_place(house: Any, queued: dict[str, Any]) -> None:
    with house.one.stream("GET", f"/v1/runs/{queued['id']}/events") as held:
        next(held.iter_lines())
        assert house.service.allowances.streams.num_open == 1
    deadline = time.monotonic() + 20
    while house.service.allowances.streams.num_open:
        assert time.monotonic() < deadline, "the place is still taken"
        time.sleep(0.02)


def test_open_streams_are_capped_and_freed(house: Any, queued: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.allowances._STREAMS", 1)
    with house.one.stream("GET", f"/v1/runs/{queued['id']}/events") as held:
        assert held.status_code == 200
        refused = house.client_of_one().get(f"/v1/runs/{queued['id']}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        house.client_of_one().post(f"/v1/runs/{queued['id']}:cancel")
        held.read()
    deadline = time.monotonic() + 20
    while house.service.allowances.streams.num_open and time.monotonic() < deadline:
        time.sleep(0.02)
    assert house.one.get(f"/v1/runs/{queued['id']}/events").status_code == 200

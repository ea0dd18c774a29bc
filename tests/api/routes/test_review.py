"""Reviews over REST: rows are claimed under leases, verdicts count once, and what is settled can be used."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.catalog import Scope

QUEUES = "/v1/review/queues"


@pytest.fixture
def open_queue(house: Any, finished: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """A queue of the finished run; another seed is another queue."""

    def make(**settings: Any) -> dict[str, Any]:
        made = house.one.post(QUEUES, json={"run": finished["id"], "budget": 6, **settings})
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"{QUEUES}/{made.json()['id']}"
        return made.json()

    return make


@pytest.fixture
def reviewers(house: Any) -> tuple[httpx.Client, httpx.Client]:
    """Two people who may review, and no more than look."""
    return house.client([Scope.READ, Scope.REVIEW]), house.client([Scope.READ, Scope.REVIEW])


def claim(client: httpx.Client, queue: dict[str, Any], n: int = 10) -> list[dict[str, Any]]:
    answer = client.post(f"{QUEUES}/{queue['id']}:claim?n={n}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def say(client: httpx.Client, item: dict[str, Any], action: str, **more: Any) -> httpx.Response:
    body = {"action": action, "lease": item["lease"]["token"], **more}
    return client.post(f"/v1/review/items/{item['id']}/verdict", json=body)


def test_a_queue_is_opened_once_for_the_same_settings(
    house: Any, finished: dict[str, Any], open_queue: Callable[..., dict[str, Any]]
) -> None:
    queue = open_queue(seed=1)
    assert (queue["run"], queue["manifest"]) == (finished["id"], finished["summary"]["manifest"])
    assert (queue["num_items"], queue["task"], queue["label"], queue["classes"]) == (6, "text", None, [])
    assert queue["content"] == ["text"]
    assert (queue["settings"]["order"], queue["settings"]["min_worth"]) == ("worth", 0)
    assert queue["states"] == {"open": 6, "leased": 0, "settled": 0, "disputed": 0}
    assert open_queue(seed=1)["id"] == queue["id"]
    other = open_queue(seed=2)["id"]
    assert other != queue["id"]
    listed = house.one.get(f"{QUEUES}?run={finished['id']}").json()["items"]
    assert {queue["id"], other} <= {item["id"] for item in listed}
    assert all(item["answers_given"] == 0 for item in listed if item["id"] in (queue["id"], other))
    first = house.one.get(f"{QUEUES}/{queue['id']}")
    again = house.one.get(f"{QUEUES}/{queue['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, first.json()["poll_after_ms"]) == (304, 3000)
    claim(house.one, queue, 1)
    later = house.one.get(f"{QUEUES}/{queue['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert (later.status_code, later.json()["states"]["leased"]) == (200, 1)


def test_a_key_opens_one_queue(house: Any, finished: dict[str, Any]) -> None:
    body, key = {"run": finished["id"], "budget": 3, "seed": 77}, {"Idempotency-Key": "review-once"}
    first, second = (house.one.post(QUEUES, json=body, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"] and second.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 400, "review_budget"),
        ({"budget": 0}, 422, "budget"),
        ({"budget": 20_000}, 422, "budget"),
        ({"budget": 3, "audit_share": 2}, 422, "audit_share"),
        ({"budget": 3, "size": 2}, 422, "size"),
        ({"budget": 3, "audit_share": 0}, 409, "no row to ask about"),
        ({"budget": 3, "min_worth": 1}, 409, "min_worth 1"),
        ({"budget": 3, "min_worth": 4}, 422, "min_worth"),
        ({"budget": 3, "order": "age"}, 422, "order"),
        ({"budget": 3, "run": "run_nobody"}, 404, "run_nobody"),
    ],
)
def test_queues_that_cannot_be(
    house: Any, finished: dict[str, Any], body: dict[str, Any], status: int, word: str
) -> None:
    answer = house.one.post(QUEUES, json={"run": finished["id"], **body})
    assert (answer.status_code, word in answer.text) == (status, True), answer.text


def test_an_unfinished_run_has_nothing_to_review(house: Any, queued: dict[str, Any]) -> None:
    assert house.one.post(QUEUES, json={"run": queued["id"], "budget": 3}).status_code == 409


def test_reviewers_see_the_row_and_never_the_same_one(
    house: Any, finished: dict[str, Any], open_queue: Callable[..., dict[str, Any]], reviewers: Any
) -> None:
    queue = open_queue(seed=3)
    mine, yours = claim(reviewers[0], queue, 4), claim(reviewers[1], queue)
    assert [item["position"] for item in mine + yours] == [0, 1, 2, 3, 4, 5]
    assert claim(reviewers[0], queue) == []
    rows = house.one.get(f"/v1/runs/{finished['id']}/decisions?rows=true&limit=1000").json()["items"]
    told = {row["sample_id"]: row for row in rows}
    for item in mine + yours:
        ledger = told[item["sample_id"]]
        assert (item["row"], item["row_cut"]) == (ledger["row"], ledger["row_cut"])
        assert item["verdict"] == {name: ledger[name] for name in item["verdict"]}
        assert (item["why"], item["state"]) == ("audit", "leased")
        assert item["lease"]["token"] == "0.1" and item["lease"]["expires_at"] > queue["created_at"]


def test_a_verdict_counts_once_and_may_be_amended(
    house: Any, open_queue: Callable[..., dict[str, Any]], reviewers: Any
) -> None:
    queue, (me, you) = open_queue(seed=4), reviewers
    [item] = claim(me, queue, 1)
    address = f"/v1/review/items/{item['id']}/verdict"
    assert me.post(address, json={"action": "drop"}).status_code == 428
    assert say(you, item, "drop").json()["code"] == "lease_lost"
    done = me.post(address, json={"action": "drop"}, headers={"If-Match": '"0.1"'})
    assert (done.status_code, done.json()["state"], done.headers["etag"]) == (200, "settled", '"0.2"')
    assert [(a["action"], a["note"]) for a in done.json()["answers"]] == [("drop", "")]
    assert say(me, item, "drop").json() == done.json()  # sent again
    assert say(me, item, "keep").status_code == 409
    assert me.post(address, json={"action": "keep"}, headers={"If-Match": '"0.1"'}).status_code == 412
    amended = me.post(address, json={"action": "keep", "note": "on reflection"}, headers={"If-Match": '"0.2"'})
    assert amended.json()["answers"][0]["note"] == "on reflection"
    assert house.one.get(f"{QUEUES}/{queue['id']}").json()["answers_given"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "relabel", "label": "x"}, 400),
        ({"action": "keep", "label": "x"}, 400),
        ({"action": "burn"}, 422),
        ({"action": "keep", "lease": "token"}, 400),
        ({"action": "keep", "extra": 1}, 422),
        ({"action": "keep", "note": "a\0b"}, 422),
        ({"action": "keep", "note": "x" * 1001}, 422),
    ],
)
def test_verdicts_that_cannot_be(
    open_queue: Callable[..., dict[str, Any]], reviewers: Any, body: dict[str, Any], status: int
) -> None:
    [item] = claim(reviewers[0], open_queue(seed=5), 1)
    answer = reviewers[0].post(f"/v1/review/items/{item['id']}/verdict", json={"lease": item["lease"]["token"], **body})
    assert answer.status_code == status, answer.text
    freed = reviewers[0].post(f"/v1/review/items/{item['id']}:release", json={"lease": item["lease"]["token"]})
    assert (freed.status_code, freed.json()["state"]) == (200, "open")


def test_a_skipped_row_goes_to_somebody_else(open_queue: Callable[..., dict[str, Any]], reviewers: Any) -> None:
    queue, (me, you) = open_queue(seed=6, budget=1), reviewers
    [item] = claim(me, queue)
    skip = f"/v1/review/items/{item['id']}:skip"
    assert me.post(skip, json={}).status_code == 428
    assert you.post(skip, json={"lease": "0.1"}).status_code == 409
    assert me.post(skip, json={"lease": "0.1"}).json()["state"] == "open"
    assert me.post(skip, json={}, headers={"If-Match": '"0.1"'}).status_code == 412
    assert claim(me, queue) == []
    assert len(claim(you, queue)) == 1


def test_two_people_are_compared_and_nobody_sees_the_other_first(
    house: Any, open_queue: Callable[..., dict[str, Any]], reviewers: Any
) -> None:
    queue, (me, you) = open_queue(seed=7, budget=4, overlap=1.0), reviewers
    assert queue["answers_wanted"] == 8
    mine, yours = claim(me, queue), claim(you, queue)
    for item, action in zip(mine, ["keep", "keep", "drop", "drop"], strict=True):
        assert say(me, item, action).json()["answers"] == []
    for item, action in zip(yours, ["keep", "drop", "drop", "drop"], strict=True):
        assert len(say(you, item, action).json()["answers"]) == 2
    told = house.one.get(f"{QUEUES}/{queue['id']}").json()
    assert told["states"] == {"open": 0, "leased": 0, "settled": 3, "disputed": 1}
    assert told["poll_after_ms"] is None
    agreement = told["agreement"]
    assert (agreement["items"], agreement["agreement"]) == (4, 0.75)
    assert agreement["kappa"] == pytest.approx(0.5)  # p0 = 3/4, pe = 1/2
    [pair] = agreement["pairs"]
    assert (pair["items"], len(set(pair["reviewers"]))) == (4, 2)
    disputed = house.one.get(f"{QUEUES}/{queue['id']}/items?state=disputed").json()["items"]
    assert [item["id"] for item in disputed] == [mine[1]["id"]]
    pages, cursor = [], ""
    while True:
        page = house.one.get(f"{QUEUES}/{queue['id']}/items?limit=3{cursor}").json()
        pages += [item["position"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [0, 1, 2, 3]


def test_settled_verdicts_become_a_manifest(
    house: Any, finished: dict[str, Any], open_queue: Callable[..., dict[str, Any]], reviewers: Any
) -> None:
    queue, base = open_queue(seed=8, budget=30), finished["summary"]["manifest"]
    apply = f"{QUEUES}/{queue['id']}:apply"
    assert house.one.post(apply, json={}).status_code == 409
    assert reviewers[0].post(apply, json={}).status_code == 403
    items = claim(reviewers[0], queue, 30)
    before = {item["sample_id"]: item["verdict"]["action"] for item in items}
    assert set(before.values()) == {"keep", "drop"}
    for item in items:  # everything the other way round
        assert say(reviewers[0], item, "drop" if before[item["sample_id"]] == "keep" else "keep").status_code == 200
    told = house.one.get(f"{QUEUES}/{queue['id']}").json()
    assert (told["audit"], told["uncertain"]["items"]) == ({"items": 30, "settled": 30, "confirmed": 0}, 0)
    made = house.one.post(apply, json={"manifest": base}, headers={"Idempotency-Key": "apply-once"})
    assert made.status_code == 201, made.text
    again = house.one.post(apply, json={"manifest": base}, headers={"Idempotency-Key": "apply-once"})
    assert again.json() == made.json()
    diff = house.one.get(f"{made.headers['location']}/diff?base={base}").json()
    gone = sum(action == "keep" for action in before.values())
    assert (diff["rows_dropped"], diff["rows_revived"]) == (gone, 30 - gone)
    history = house.one.get(f"/v1/samples/{items[0]['sample_id']}/history?run={finished['id']}").json()["items"][0]
    assert history["overrides"][-1]["note"] == f"review {queue['id']}"


def test_settled_verdicts_become_a_trusted_sample(
    house: Any, finished: dict[str, Any], open_queue: Callable[..., dict[str, Any]], reviewers: Any
) -> None:
    queue = open_queue(seed=9)
    address = f"{QUEUES}/{queue['id']}/trusted"
    assert house.one.get(address).status_code == 409
    items = claim(reviewers[0], queue)
    for number, item in enumerate(items[:5]):
        say(reviewers[0], item, "drop" if number == 2 else "keep")
    answer = house.one.get(address)
    assert answer.headers["content-disposition"] == f'attachment; filename="{queue["id"]}.parquet"'
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.schema.names == ["id", "keep"]
    expected = [{"id": item["row"]["id"], "keep": number != 2} for number, item in enumerate(items[:5])]
    assert table.to_pylist() == expected
    stream = house.one.get(f"{address}?format=arrow&with_trusted=true").content
    assert pa.ipc.open_file(stream).read_all().to_pylist() == expected
    assert house.one.get(f"{address}?format=csv").status_code == 422
    assert house.one.get(f"{QUEUES}/{queue['id']}").json()["trusted_rows"] == 5


def test_only_reviewers_review(house: Any, open_queue: Callable[..., dict[str, Any]]) -> None:
    queue = open_queue(seed=10)
    reader = house.client([Scope.READ, Scope.WRITE])
    item = house.one.get(f"{QUEUES}/{queue['id']}/items?limit=1").json()["items"][0]
    for address, body in (
        (f"{QUEUES}/{queue['id']}:claim", None),
        (f"/v1/review/items/{item['id']}/verdict", {"action": "keep", "lease": "0.0"}),
        (f"/v1/review/items/{item['id']}:skip", {"lease": "0.0"}),
        (f"/v1/review/items/{item['id']}:release", {"lease": "0.0"}),
    ):
        assert reader.post(address, json=body).status_code == 403, address
    assert house.client([Scope.READ]).post(QUEUES, json={"run": queue["run"], "budget": 3}).status_code == 403


@pytest.fixture(scope="module")
def labelled_run(house: Any, send: Any) -> dict[str, Any]:
    """A run over labelled rows whose id is a number."""
    from pipelines.execute import execute
    from pipelines.runner import Runner

    rows = [{"id": n, "text": f"row {n} says something of its own", "label": n % 3} for n in range(60)]
    rows += [{"id": 60 + n, "text": f"nobody has said what row {n} is", "label": None} for n in range(20)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    dataset = house.one.post("/v1/datasets", json={"upload_ids": [send(house.one, sink.getvalue())]}).json()["id"]
    recipe = {"task": "classification", "columns": {"text": "text", "label": "label"}}
    run = house.one.post("/v1/runs", json={"dataset": dataset, "recipe": recipe}).json()["id"]
    runner = Runner(house.service.settings, house.service.catalog, execute)
    while house.one.get(f"/v1/runs/{run}").json()["state"] == "queued":
        assert runner.run_once()
    return house.one.get(f"/v1/runs/{run}").json()


def test_a_row_kept_without_a_label_has_no_truth(house: Any, labelled_run: dict[str, Any], reviewers: Any) -> None:
    queue = house.one.post(QUEUES, json={"run": labelled_run["id"], "budget": 80, "audit_share": 1}).json()
    bare, other = [], []
    for item in claim(reviewers[0], queue, 80):
        assert say(reviewers[0], item, "keep").status_code == 200
        (bare if item["verdict"]["given_label"] is None else other).append(item["row"]["id"])
    assert len(bare) == 20
    told = house.one.get(f"{QUEUES}/{queue['id']}").json()
    assert (told["trusted_rows"], told["trusted_left_out"]) == (60, 20)
    table = pq.read_table(io.BytesIO(house.one.get(f"{QUEUES}/{queue['id']}/trusted").content))
    assert table["label"].null_count == 0 and sorted(table["id"].to_pylist()) == sorted(other)


def test_labels_are_checked_against_the_datas_own(house: Any, labelled_run: dict[str, Any], reviewers: Any) -> None:
    assert labelled_run["state"] == "succeeded", labelled_run["error"]
    queue = house.one.post(QUEUES, json={"run": labelled_run["id"], "budget": 30}).json()
    assert (queue["label"], queue["classes"]) == ("label", [0, 1, 2])
    items = [item for item in claim(reviewers[0], queue, 30) if item["verdict"]["given_label"] is not None]
    given = items[0]["verdict"]["given_label"]
    for label in (given, 7, "1", True, None):
        assert say(reviewers[0], items[0], "relabel", label=label).status_code == 400, label
    for item in items[:3]:
        other = (item["verdict"]["given_label"] + 1) % 3
        assert say(reviewers[0], item, "relabel", label=other).status_code == 200
    assert say(reviewers[0], items[3], "keep").status_code == 200
    assert say(reviewers[0], items[4], "drop").status_code == 200
    told = house.one.get(f"{QUEUES}/{queue['id']}").json()
    assert (told["trusted_rows"], told["trusted_left_out"], told["audit"]["confirmed"]) == (4, 1, 1)
    table = pq.read_table(io.BytesIO(house.one.get(f"{QUEUES}/{queue['id']}/trusted").content))
    assert table.schema.field("label").type == pa.int64()
    expected = {item["row"]["id"]: (item["verdict"]["given_label"] + 1) % 3 for item in items[:3]}
    expected[items[3]["row"]["id"]] = items[3]["verdict"]["given_label"]
    assert {row["id"]: row["label"] for row in table.to_pylist()} == expected
    made = house.one.post(f"{QUEUES}/{queue['id']}:apply", json={}).json()
    base = labelled_run["summary"]["manifest"]
    diff = house.one.get(f"/v1/manifests/{made['manifest']}/diff?base={base}").json()
    assert (diff["rows_dropped"], diff["rows_relabeled"]) == (1, 3)

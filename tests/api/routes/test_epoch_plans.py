"""Epoch plans over REST: the places the server tells are the rows a ShardStream gives."""

from __future__ import annotations

from typing import Any

import pytest

from curator.client.shard_stream import ShardStream
from curator.shards import ShardReader


@pytest.fixture(scope="module")
def plan(house: Any, finished: dict[str, Any]) -> dict[str, Any]:
    body = {"manifest": finished["summary"]["manifest"], "num_epochs": 4, "global_batch_size": 12, "seed": 3}
    made = house.one.post("/v1/epoch-plans", json=body)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/v1/epoch-plans/{made.json()['id']}"
    return made.json()  # type: ignore[no-any-return]


def places(house: Any, plan: dict[str, Any], epoch: int, **query: Any) -> list[tuple[int, str, int, str | None]]:
    """(position, shard digest, row, difficulty) over all pages."""
    found, start = [], query.pop("start", 0)
    while start is not None:
        params = {**query, "from": start}
        answer = house.one.get(f"/v1/epoch-plans/{plan['id']}/epochs/{epoch}/blocks", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        columns = zip(page["position"], page["shard"], page["row"], page["difficulty"], strict=True)
        found += [(position, page["shards"][shard], row, level) for position, shard, row, level in columns]
        start = page["next_from"]
    return found


def test_the_same_request_is_the_same_plan(house: Any, plan: dict[str, Any], finished: dict[str, Any]) -> None:
    body = {"manifest": finished["summary"]["manifest"], "num_epochs": 4, "global_batch_size": 12, "seed": 3}
    assert house.one.post("/v1/epoch-plans", json=body).json() == plan
    other = house.one.post("/v1/epoch-plans", json={**body, "seed": 4}).json()
    assert other["digest"] != plan["digest"]
    assert house.one.get(f"/v1/epoch-plans/{plan['id']}").json() == plan
    assert {plan["id"], other["id"]} <= {item["id"] for item in house.one.get("/v1/epoch-plans").json()["items"]}


def test_an_epoch_tells_its_mix(house: Any, plan: dict[str, Any]) -> None:
    for epoch in range(4):
        view = house.one.get(f"/v1/epoch-plans/{plan['id']}/epochs/{epoch}").json()
        assert sum(view["rows"].values()) == view["num_positions"] == 12 * view["num_batches"] > 0
        assert sum(view["ratios"].values()) == pytest.approx(1)
    assert house.one.get(f"/v1/epoch-plans/{plan['id']}/epochs/4").status_code == 400


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_places_are_the_rows_a_stream_gives(
    house: Any, plan: dict[str, Any], finished: dict[str, Any], epoch: int
) -> None:
    told = places(house, plan, epoch, limit=50)
    root, name = house.service.settings.root, finished["summary"]["manifest"]
    stream = ShardStream(root, name, num_epochs=4, global_batch_size=12, seed=3)
    assert stream.plan.id == plan["digest"]
    stream.set_epoch(epoch)
    batches = list(stream.iter_batches())
    ids = [value for batch in batches for value in batch.column("sample_id").to_pylist()]
    levels = [value for batch in batches for value in batch.column("difficulty").to_pylist()]
    numbers = {info.digest: number for number, info in enumerate(stream.manifest.shards)}
    rows = ShardReader(root).take(name, [(numbers[digest], row) for _, digest, row, _ in told], ["sample_id"])
    assert rows.column(0).to_pylist() == ids
    assert [level for *_, level in told] == levels
    assert [position for position, *_ in told] == list(range(len(ids)))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_one_order(house: Any, plan: dict[str, Any], world_size: int) -> None:
    whole = places(house, plan, 1)
    shared = [place for rank in range(world_size) for place in places(house, plan, 1, rank=rank, world_size=world_size)]
    assert sorted(shared) == sorted(whole)


def test_going_on_in_the_middle(house: Any, plan: dict[str, Any]) -> None:
    assert places(house, plan, 0, start=24) == places(house, plan, 0)[24:]


@pytest.mark.parametrize("tail", ["pad", "short"])
def test_a_last_batch_that_is_not_full(house: Any, finished: dict[str, Any], tail: str) -> None:
    body = {"manifest": finished["summary"]["manifest"], "global_batch_size": 16, "epoch_size": 40, "tail": tail}
    made = house.one.post("/v1/epoch-plans", json={**body, "num_epochs": 1, "curriculum": "constant"}).json()
    answer = house.one.get(f"/v1/epoch-plans/{made['id']}/epochs/0/blocks?limit=1000").json()
    assert len(answer["position"]) == len(answer["row"]) == (48 if tail == "pad" else 40)
    empty = [place for place, level in enumerate(answer["difficulty"]) if level is None]
    assert len(empty) == (8 if tail == "pad" else 0)
    assert all(answer["row"][place] == answer["shard"][place] == -1 for place in empty)


@pytest.mark.parametrize(
    "query", ["rank=2&world_size=2", "rank=0&world_size=5", "from=5", "from=99999996", "rank=-1", "limit=0", "form=0"]
)
def test_places_that_are_not_in_the_plan(house: Any, plan: dict[str, Any], query: str) -> None:
    answer = house.one.get(f"/v1/epoch-plans/{plan['id']}/epochs/0/blocks?{query}")
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"global_batch_size": 100_000}, 400),
        ({"curriculum": "steep"}, 400),
        ({"curriculum": {"kind": "constant", "easy": -1}}, 400),
        ({"num_epochs": 0}, 422),
        ({"manifest": "man_nobody"}, 404),
        ({"shuffle": "random"}, 422),
    ],
)
def test_plans_that_cannot_be(house: Any, finished: dict[str, Any], change: dict[str, Any], status: int) -> None:
    answer = house.one.post("/v1/epoch-plans", json={"manifest": finished["summary"]["manifest"], **change})
    assert answer.status_code == status, answer.text


def adaptive(house: Any, finished: dict[str, Any], seed: int) -> str:
    body = {"manifest": finished["summary"]["manifest"], "curriculum": "adaptive", "num_epochs": 3, "seed": seed}
    made = house.one.post("/v1/epoch-plans", json={**body, "global_batch_size": 8})
    assert made.status_code == 201, made.text
    return f"/v1/epoch-plans/{made.json()['id']}"


def test_losses_move_an_adaptive_plan_and_each_epoch_is_recorded_before_it_is_served(
    house: Any, finished: dict[str, Any]
) -> None:
    plan = adaptive(house, finished, 91)
    first = house.one.get(f"{plan}/epochs/0").json()
    assert first["ratios"] == {"easy": 0.7, "medium": 0.2, "hard": 0.1}
    early = house.one.get(f"{plan}/epochs/1")
    assert (early.status_code, early.json()["code"]) == (409, "conflict") and "not decided" in early.json()["detail"]
    assert house.one.get(f"{plan}/epochs/1/blocks").status_code == 409
    for epoch, losses in enumerate(
        ({"easy": 1.0, "medium": 2.0, "hard": 3.0}, {"easy": 1.0, "medium": 1.9, "hard": 1.0})
    ):
        told = house.one.post(f"{plan}/epochs/{epoch}/losses", json=losses)
        assert told.status_code == 200, told.text
        assert told.json()["entries"][-1]["losses"] == losses
        assert house.one.post(f"{plan}/epochs/{epoch}/losses", json=losses).json() == told.json()
    last = house.one.get(f"{plan}/epochs/2").json()
    assert last["ratios"]["hard"] > first["ratios"]["hard"], "what lost most of its loss is what is learned"
    journal = house.one.get(f"{plan}/journal").json()
    assert [entry["ratios"] for entry in journal["entries"]][2] == last["ratios"]
    stream = ShardStream(
        house.service.settings.root, finished["summary"]["manifest"], curriculum="adaptive", num_epochs=3, seed=91,
        global_batch_size=8, columns=["id"],
    )  # fmt: skip
    assert stream.plan.id == house.one.get(plan).json()["digest"]
    assert house.one.post(f"{plan}/epochs/2/losses", json={"easy": 0.1}).json() == journal, "no epoch is left"


def test_the_first_report_of_an_epoch_holds(house: Any, finished: dict[str, Any]) -> None:
    plan = adaptive(house, finished, 92)
    ahead = house.one.post(f"{plan}/epochs/1/losses", json={"easy": 1.0})
    assert ahead.status_code == 409, "an epoch that is not decided has no losses"
    assert house.one.post(f"{plan}/epochs/0/losses", json={"easy": 1.0}).status_code == 200
    other = house.one.post(f"{plan}/epochs/0/losses", json={"easy": 0.5})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert house.one.post(f"{plan}/epochs/1/losses", json={"easy": -1.0}).status_code == 422
    assert house.one.post(f"{plan}/epochs/9/losses", json={"easy": 1.0}).status_code == 400


def test_other_curricula_have_no_journal(house: Any, plan: dict[str, Any]) -> None:
    assert house.one.get(f"/v1/epoch-plans/{plan['id']}/journal").status_code == 400
    answer = house.one.post(f"/v1/epoch-plans/{plan['id']}/epochs/0/losses", json={"easy": 1.0})
    assert answer.status_code == 400 and "staged" in answer.json()["detail"]


def test_the_digest_names_the_plan_as_well(house: Any, plan: dict[str, Any]) -> None:
    assert house.one.get(f"/v1/epoch-plans/{plan['digest']}").json() == plan

"""Rewrites over REST: a manifest compacted, an epoch packed and read through the server, an epoch simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.catalog.shelf import shelve
from curator.client.rest import Client
from curator.client.shard_stream import ShardStream
from curator.errors import NotFoundError
from curator.shards import ShardReader
from pipelines.rewriting import rewrite_once
from tests.api.conftest import until_none_is_queued
from tests.curator.shards.dataset import write_dataset


@pytest.fixture(scope="module")
def manifest(house: Any) -> str:
    """Of many small shards, tenant one's."""
    made = write_dataset(house.service.store, kept=600, seed=9).manifest
    shelve(house.service.catalog.manifests, house.service.store, house.tenant, made, run=None)
    return made.id


@pytest.fixture(scope="module")
def plan(house: Any, manifest: str) -> dict[str, Any]:
    body = {"manifest": manifest, "num_epochs": 2, "global_batch_size": 12, "seed": 5}
    return house.one.post("/v1/epoch-plans", json=body).json()  # type: ignore[no-any-return]


def work(house: Any) -> None:
    until_none_is_queued(rewrite_once, house)


def done(house: Any, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    work(house)
    row = house.one.get(answer.headers["location"]).json()
    assert row["state"] == "succeeded", row["error"]
    return row  # type: ignore[no-any-return]


def test_a_compacted_manifest_is_a_child_with_the_same_rows(house: Any, manifest: str) -> None:
    asked = house.one.post(f"/v1/manifests/{manifest}:compact", headers={"Idempotency-Key": "compact-once"})
    assert asked.json()["state"] == "queued" and asked.json()["poll_after_ms"] == 1000
    again = house.one.post(f"/v1/manifests/{manifest}:compact", headers={"Idempotency-Key": "compact-once"})
    assert again.json() == asked.json()
    row = done(house, asked)
    child = row["result"]["manifest"]
    assert child != manifest and row["result"]["shards"] < row["result"]["shards_before"]
    assert row["poll_after_ms"] is None
    lineage = [item["id"] for item in house.one.get(f"/v1/manifests/{child}/lineage").json()["items"]]
    assert lineage == [child, manifest]
    reader = ShardReader(house.service.settings.root)
    rows = [
        [n for batch in reader.iter_batches(name, ["number"]) for n in batch["number"].to_pylist()] for name in lineage
    ]
    assert rows[0] == rows[1]
    first = house.one.get(f"/v1/manifests/{child}").json()["shards"][0]["digest"]
    assert house.one.get(f"/v1/shards/{first}").status_code == 200, "its shards are in the register"
    nothing = done(house, house.one.post(f"/v1/manifests/{child}:compact", json={}))
    assert nothing["result"]["manifest"] == child


def test_a_packed_epoch_is_read_in_sequence_through_the_server(
    house: Any, plan: dict[str, Any], tmp_path: Path
) -> None:
    address = f"/v1/epoch-plans/{plan['id']}/epochs/1"
    early = house.one.get(f"{address}/pack")
    assert early.status_code == 404 and house.service.settings.root not in early.text
    row = done(house, house.one.post(f"{address}:pack"))
    assert (row["kind"], row["plan"], row["epoch"]) == ("pack", plan["id"], 1)
    record = house.one.get(f"{address}/pack").json()
    assert (record["plan"], record["epoch"], record["manifest"]) == (plan["digest"], 1, row["result"]["manifest"])
    key = house.one.headers["authorization"].removeprefix("Bearer ")
    options = {"num_epochs": 2, "global_batch_size": 12, "seed": 5, "cache_dir": tmp_path, "rank": 1, "world_size": 2}
    with Client(house.url, key) as client:
        packed, gathered = (ShardStream(client, plan["manifest"], packed=packed, **options) for packed in (True, False))
        for stream in (packed, gathered):
            stream.set_epoch(1)
        told = [[batch.to_pylist() for batch in stream.iter_batches()] for stream in (packed, gathered)]
        assert told[0] == told[1] and len(told[0]) == len(packed)
        packed.set_epoch(0)
        with pytest.raises(NotFoundError, match=r"not packed"):
            next(packed.iter_batches())


def test_rewrites_are_told_of_cancelled_and_operations(house: Any, manifest: str, plan: dict[str, Any]) -> None:
    first = house.one.post(f"/v1/manifests/{manifest}:compact").json()
    etag = house.one.get(f"/v1/rewrites/{first['id']}").headers["etag"]
    assert house.one.get(f"/v1/rewrites/{first['id']}", headers={"If-None-Match": etag}).status_code == 304
    assert house.one.post(f"/v1/rewrites/{first['id']}:cancel", headers={"If-Match": '"9"'}).status_code == 412
    cancelled = house.one.post(f"/v1/rewrites/{first['id']}:cancel", headers={"If-Match": etag})
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert house.one.post(f"/v1/rewrites/{first['id']}:cancel").status_code == 409
    work(house)
    assert house.one.get(f"/v1/rewrites/{first['id']}").json()["result"] is None
    assert first["id"] in {item["id"] for item in house.one.get("/v1/rewrites").json()["items"]}
    operation = house.one.get(f"/v1/operations/{first['id']}").json()
    assert (operation["kind"], operation["done"], operation["resource"]) == (
        "rewrite", True, f"/v1/rewrites/{first['id']}",
    )  # fmt: skip
    kinds = {item["kind"] for item in house.one.get("/v1/operations?kind=rewrite").json()["items"]}
    assert kinds == {"rewrite"}
    assert first["id"] not in {item["id"] for item in house.two.get("/v1/rewrites").json()["items"]}


def test_what_cannot_be_rewritten(house: Any, plan: dict[str, Any]) -> None:
    assert house.one.post("/v1/manifests/man_nobody:compact").status_code == 404
    assert house.one.post(f"/v1/epoch-plans/{plan['id']}/epochs/7:pack").status_code == 400
    assert house.one.post(f"/v1/epoch-plans/{plan['id']}/epochs/0:pack", json={"fast": True}).status_code == 422
    assert house.two.post(f"/v1/epoch-plans/{plan['id']}/epochs/0:pack").status_code == 404


def test_an_epoch_is_simulated_before_it_is_run(house: Any, plan: dict[str, Any]) -> None:
    address = f"/v1/epoch-plans/{plan['id']}:simulate"
    asked = {"bytes_per_s": 1e6, "rows_per_s": 1e5, "epoch": 0}
    one, half = (house.one.post(address, json={**asked, "world_size": size}).json() for size in (1, 2))
    length = house.one.get(f"/v1/epoch-plans/{plan['id']}/epochs/0").json()["num_positions"]
    assert (one["rows"], half["rows"]) == (length, length // 2) and one["fetches"] == one["shards"] > 0
    starved = house.one.post(address, json={**asked, "cache_limit_bytes": 0}).json()
    assert starved["hits"] == 0 and starved["bytes_fetched"] >= one["bytes_fetched"]
    assert house.one.post(address, json={**asked, "rows_per_s": 0}).status_code == 422
    assert house.one.post(address, json={**asked, "world_size": 5}).status_code == 400
    assert house.two.post(address, json=asked).status_code == 404


def test_a_simulation_too_large_for_a_server_is_refused(
    house: Any, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.epoch_plans.SIMULATED_ROWS", 10)
    asked = {"bytes_per_s": 1e6, "rows_per_s": 1e5}
    answer = house.one.post(f"/v1/epoch-plans/{plan['id']}:simulate", json=asked)
    assert answer.status_code == 400 and "where you are" in answer.json()["detail"]

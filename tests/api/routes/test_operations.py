"""Operations: runs, training jobs and exports in one list, in the order they were asked for."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def three(house: Any, finished: dict[str, Any], queued: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest of each kind: a run that waits, an external job, an export that waits."""
    manifest = finished["summary"]["manifest"]
    job = house.one.post("/v1/training-jobs", json={"manifest": manifest, "mode": "external"}).json()
    export = house.one.post("/v1/exports", json={"manifest": manifest, "format": "jsonl"}).json()
    return [queued, job, export]


def test_all_kinds_in_one_list_newest_first(house: Any, three: list[dict[str, Any]]) -> None:
    told = house.one.get("/v1/operations?limit=3").json()
    assert [item["id"] for item in told["items"]] == [made["id"] for made in reversed(three)]
    assert [item["kind"] for item in told["items"]] == ["export", "training_job", "run"]
    assert told["poll_after_ms"] == 1000
    for item in told["items"]:
        resource = house.one.get(item["resource"]).json()
        for name in ("id", "state", "version", "created_at", "poll_after_ms"):
            assert item[name] == resource[name], name
        assert item["done"] is False


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_any_size_tell_the_same(house: Any, three: list[dict[str, Any]], limit: int) -> None:
    whole = [item["id"] for item in house.one.get("/v1/operations?limit=1000").json()["items"]]
    told, cursor = [], ""
    while True:
        page = house.one.get(f"/v1/operations?limit={limit}{cursor}").json()
        told += [item["id"] for item in page["items"]]
        assert len(told) <= len(whole), "pages repeat themselves"
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert told == whole and len(set(told)) == len(told)
    assert {identity.split("_")[0] for identity in told} >= {"run", "trn", "exp"}


def test_one_kind_at_a_time(house: Any, three: list[dict[str, Any]]) -> None:
    for made, kind in zip(three, ["run", "training_job", "export"], strict=True):
        items = house.one.get(f"/v1/operations?kind={kind}&limit=1000").json()["items"]
        assert items[0]["id"] == made["id"] and {item["kind"] for item in items} == {kind}


def test_one_operation_is_polled_with_its_etag(
    house: Any, three: list[dict[str, Any]], finished: dict[str, Any]
) -> None:
    for made in [*three, finished]:
        found = house.one.get(f"/v1/operations/{made['id']}")
        assert found.json()["state"] == made["state"]
        again = house.one.get(f"/v1/operations/{made['id']}", headers={"If-None-Match": found.headers["etag"]})
        assert again.status_code == 304
    assert house.one.get(f"/v1/operations/{finished['id']}").json()["done"] is True


@pytest.mark.parametrize(("path", "status"), [("/x", 404), ("/ds_1", 404), ("?kind=dataset", 422), ("?cursor=x", 400)])
def test_what_is_no_operation(house: Any, path: str, status: int) -> None:
    assert house.one.get(f"/v1/operations{path}").status_code == status

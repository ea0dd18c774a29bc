"""Manifests: sent whole and unchanged, cached for ever, known even when a run was made without a server."""

from __future__ import annotations

from typing import Any

from curator.catalog import LOCAL_TENANT
from curator.shards import Manifest


def test_a_manifest_is_what_its_id_says(house: Any, finished: dict[str, Any]) -> None:
    name = finished["summary"]["manifest"]
    answer = house.one.get(f"/v1/manifests/{name}")
    assert Manifest.parse(answer.content, name).id == name
    assert answer.headers["etag"] == f'"{name}"'
    assert "immutable" in answer.headers["cache-control"]
    again = house.one.get(f"/v1/manifests/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_manifests_are_listed_by_run(house: Any, finished: dict[str, Any]) -> None:
    house.one.get(f"/v1/manifests/{finished['summary']['manifest']}")
    items = house.one.get(f"/v1/manifests?run={finished['id']}").json()["items"]
    assert finished["summary"]["manifest"] in {item["id"] for item in items}
    assert {item["run"] for item in items} == {finished["id"]}
    assert house.one.get("/v1/manifests?run=run_nobody").json()["items"] == []


def test_a_manifest_against_itself_has_no_difference(house: Any, finished: dict[str, Any]) -> None:
    name = finished["summary"]["manifest"]
    diff = house.one.get(f"/v1/manifests/{name}/diff?base={name}").json()
    assert [diff[key] for key in ("rows_revived", "rows_dropped", "rows_regraded", "rows_relabeled")] == [0] * 4
    assert diff["live"] == diff["live_before"] == finished["summary"]["difficulty"]
    assert not diff["recipe_changed"] and not diff["policy_changed"]


def test_a_file_of_the_store_is_no_manifest_of_a_tenant(house: Any, finished: dict[str, Any]) -> None:
    """The file is there for everybody's process to read; the register says whose it is."""
    name = finished["summary"]["manifest"]
    assert house.service.store.exists(f"manifests/{name}.json")
    for path in ("", "/lineage", f"/diff?base={name}"):
        assert house.two.get(f"/v1/manifests/{name}{path}").status_code == 404
    assert LOCAL_TENANT not in (house.tenant, house.other)


def test_ids_that_are_none(house: Any) -> None:
    for name in ("man_0", "x", "man_../../etc", "%2e%2e%2fwinnow.db"):
        assert house.one.get(f"/v1/manifests/{name}").status_code == 404

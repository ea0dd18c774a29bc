"""Bytes by kind, each tenant's own; and what is deleted over REST goes."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.purging import purge_due
from tests.api.conftest import RECIPE, register, work_through


@pytest.fixture
def uncounted(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts anew each time."""
    monkeypatch.setattr("api.stocktaking._SERVES_S", 0.0)


@pytest.mark.usefixtures("uncounted")
def test_bytes_by_kind_are_ones_own(house: Any, owned: dict[str, str]) -> None:
    kinds = (told := house.one.get("/v1/storage").json())["kinds"]
    assert set(kinds) == {"uploads", "shards", "runs", "training", "exports"}
    assert told["bytes"] == sum(kind["bytes"] for kind in kinds.values())
    for kind in ("uploads", "shards", "runs", "exports"):
        assert kinds[kind]["count"] and kinds[kind]["bytes"], kind
    folder = house.service.store.sizes(f"runs/{owned['run_id']}")
    assert kinds["runs"]["bytes"] >= sum(folder.values()) > 0
    assert house.two.get("/v1/storage").json()["kinds"]["shards"] == {"count": 0, "bytes": 0}


@pytest.mark.usefixtures("uncounted")
def test_a_run_is_deleted_and_purged(
    throwaway: tuple[Any, dict[str, str]], parquet: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, _ = throwaway
    monkeypatch.setitem(RECIPE, "process", [{"length": {"min_chars": 61}}])  # a manifest of its own
    dataset = register(house, parquet)
    run = work_through(house, dataset)
    assert house.one.get(f"/v1/runs/{run['id']}/deletion").json()["held_by"] == []  # the newest run can go as well
    named = {"manifest": run["summary"]["manifest"]}
    house.one.put("/v1/aliases/needed", json=named, headers={"If-Match": "*"}).raise_for_status()
    refused = house.one.delete(f"/v1/runs/{run['id']}")
    assert refused.status_code == 409 and "alias 'needed'" in refused.json()["detail"]
    seen = house.one.get("/v1/runs").headers["etag"]
    monkeypatch.setitem(RECIPE, "process", ["exact_duplicates"])
    other = work_through(house, register(house, parquet))
    assert house.one.get(f"/v1/manifests/{run['summary']['manifest']}").status_code == 200
    assert other["summary"]["manifest"] != run["summary"]["manifest"]
    told = house.one.get(f"/v1/runs/{run['id']}/deletion").json()
    assert told["held_by"] == ["alias 'needed'"] and told["bytes"] > 0
    assert house.one.delete("/v1/aliases/needed", headers={"If-Match": "*"}).status_code == 204
    house.one.delete(f"/v1/datasets/{dataset['id']}")
    catalog = house.service.catalog
    settings = house.service.settings.model_copy(update={"retention_deleted_days": 0.0})
    purge_due(catalog, settings)  # the dataset, and the name that followed its runs
    assert house.one.get(f"/v1/runs/{run['id']}/deletion").json()["held_by"] == []
    assert house.one.delete(f"/v1/runs/{run['id']}", headers={"If-Match": '"0"'}).status_code == 412
    gone = house.one.delete(f"/v1/runs/{run['id']}")
    assert (gone.status_code, gone.json()["purged_after_s"]) == (202, 7 * 86_400.0)
    for path in ("", "/metrics", "/decisions", "/deletion"):
        assert house.one.get(f"/v1/runs/{run['id']}{path}").status_code == 404
    listed = house.one.get("/v1/runs", headers={"If-None-Match": seen})
    assert run["id"] not in listed.text and listed.status_code == 200
    assert house.one.get("/v1/storage").json()["deleted_runs"] == 1
    purge_due(catalog, settings)
    assert house.one.get("/v1/storage").json()["deleted_runs"] == 0
    assert house.service.store.list(f"runs/{run['id']}") == []
    assert house.one.get(f"/v1/manifests/{run['summary']['manifest']}").status_code == 404
    said = [line["action"] for line in house.one.get("/v1/audit").json()["items"]]
    assert "DELETE /v1/runs/{run_id}" in said and "retention: purge run" in said


def test_names_plans_jobs_and_exports_are_deleted(house: Any, finished: dict[str, Any]) -> None:
    manifest = {"manifest": finished["summary"]["manifest"]}
    set_to = house.one.put("/v1/aliases/passing", json=manifest, headers={"If-Match": "*"})
    assert house.one.delete("/v1/aliases/passing").status_code == 428
    assert house.one.delete("/v1/aliases/passing", headers={"If-Match": '"9"'}).status_code == 412
    gone = house.one.delete("/v1/aliases/passing", headers={"If-Match": set_to.headers["etag"]})
    assert gone.status_code == 204 and house.one.get("/v1/aliases/passing").status_code == 404
    assert house.one.delete("/v1/aliases/latest", headers={"If-Match": "*"}).status_code == 409
    plan = house.one.post("/v1/epoch-plans", json={**manifest, "global_batch_size": 8, "seed": 77}).json()["id"]
    job = house.one.post("/v1/training-jobs", json={"plan": plan, "mode": "external"}).json()["id"]
    export = house.one.post("/v1/exports", json={**manifest, "format": "jsonl"}).json()["id"]
    for path in (f"/v1/epoch-plans/{plan}", f"/v1/training-jobs/{job}", f"/v1/exports/{export}"):
        assert house.one.delete(path).status_code == 409, path
    house.one.post(f"/v1/training-jobs/{job}:cancel")
    house.one.post(f"/v1/exports/{export}:cancel")
    for path in (f"/v1/training-jobs/{job}", f"/v1/exports/{export}", f"/v1/epoch-plans/{plan}"):
        assert house.one.delete(path).status_code == 204, path
        assert house.one.get(path).status_code == 404, path

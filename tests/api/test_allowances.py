"""What is beyond a tenant's quota is refused by name, number and way out; others notice nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.allowances import Allowances
from curator.catalog import Quota, Scope
from curator.errors import SpaceQuotaError
from tests.api.conftest import RECIPE

MIB = 2**20


@pytest.fixture
def limited(house: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`limited(datasets=0)`: tenant one's quota from now on; none afterwards."""
    monkeypatch.setattr("api.allowances._KNOWN_S", 0.0)
    yield lambda **limits: house.service.catalog.quotas.set(house.tenant, Quota(**limits))
    house.service.catalog.quotas.set(house.tenant, Quota())


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, "quota_exceeded"), answer.text
    for word in words:
        assert word in answer.json()["detail"]


def opened(client: httpx.Client, size: int) -> httpx.Response:
    return client.post("/v1/uploads", json={"name": "a.csv", "size": size, "sha256": "1" * 64})


def test_bytes_beyond_the_quota_are_413(
    house: Any, limited: Any, dataset: dict[str, Any], finished: dict[str, Any]
) -> None:
    use = house.one.get("/v1/quota").json()["use"]
    limited(stored_bytes=use["stored_bytes"] + 10)
    refused(opened(house.one, 11), 413, "stored_bytes", f"{use['stored_bytes']} of", "delete", "11 more")
    made = opened(house.one, 10)
    assert made.status_code == 201
    run = {"dataset": dataset["id"], "recipe": RECIPE}
    refused(house.one.post("/v1/runs", json=run), 413, "stored_bytes")
    export = {"manifest": finished["summary"]["manifest"], "format": "jsonl"}
    refused(house.one.post("/v1/exports", json=export), 413, "stored_bytes")
    assert opened(house.two, 11).status_code == 201
    house.one.delete(f"/v1/uploads/{made.json()['id']}")
    limited(upload_bytes=use["upload_bytes"] + 5)
    refused(opened(house.one, 6), 413, "upload_bytes")


def test_one_dataset_too_many_is_403(house: Any, limited: Any, send: Any, dataset: dict[str, Any]) -> None:
    upload = send(house.one, b'{"text": "a"}\n', "a.jsonl")
    used = house.one.get("/v1/quota").json()["use"]["datasets"]
    limited(datasets=used)
    body = {"upload_ids": [upload]}
    refused(house.one.post("/v1/datasets", json=body), 403, f"datasets: {used} of {used}", "delete one")
    limited(datasets=used + 1)
    assert house.one.post("/v1/datasets", json=body).status_code == 202


def test_requests_and_streams_beyond_the_quota_are_429(house: Any, limited: Any, queued: dict[str, Any]) -> None:
    limited(requests_per_s=1, event_streams=0)
    streams = house.one.get(f"/v1/runs/{queued['id']}/events")
    assert (streams.status_code, streams.json()["code"]) == (429, "too_many_streams")
    assert "event_streams: 0 of 0" in streams.json()["detail"]
    answers = [house.one.get(path) for path in ("/v1/keys", "/v1/runs") for _ in range(8)]
    late = [answer for answer in answers if answer.status_code == 429]
    assert late and "Retry-After" in late[0].headers and late[0].json()["code"] == "rate_limited"
    assert house.two.get("/v1/keys").status_code == 200


def test_the_tenant_sees_limits_and_use(house: Any, limited: Any) -> None:
    limited(datasets=1000)
    told = house.one.get("/v1/quota").json()
    assert told["limits"] == {
        "stored_bytes": None,
        "upload_bytes": 64 * MIB,
        "datasets": 1000,
        "running_runs": house.service.settings.tenant_runs,
        "requests_per_s": None,
        "event_streams": 1000,
    }
    assert set(told["use"]) == {"stored_bytes", "upload_bytes", "datasets", "running_runs"}
    assert house.client([Scope.READ]).get("/v1/quota").json()["limits"] == told["limits"]
    assert house.two.get("/v1/quota").json()["limits"]["datasets"] is None


def test_a_quota_is_looked_up_once_in_ten_seconds(house: Any) -> None:
    now, tenant = [0.0], house.service.catalog.keys.tenant("patient").id
    allowances = Allowances(house.service.catalog, house.service.settings, clock=lambda: now[0])
    allowances.require_some_room(tenant)
    house.service.catalog.quotas.set(tenant, Quota(stored_bytes=0))
    allowances.require_some_room(tenant)
    now[0] = 11.0
    with pytest.raises(SpaceQuotaError, match="stored_bytes: 0 of 0"):
        allowances.require_some_room(tenant)

"""Who may speak: keys, scopes, expiry, and the one place that needs no key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.auth import Caller, is_loopback, local_access, still_opens
from curator.catalog import LOCAL_TENANT, Scope
from curator.errors import RetryableError
from curator.settings import Settings


@pytest.fixture
def local(tmp_path: Path, serve: Any) -> Iterator[httpx.Client]:
    for url in serve(create_app(Settings(root=str(tmp_path)))):
        with httpx.Client(base_url=url) as client:
            yield client


def test_this_machine_needs_no_key_on_loopback(local: httpx.Client) -> None:
    assert local.get("/v1/runs").status_code == 200
    assert local.post("/v1/uploads", json={"name": "a.csv", "size": 1, "sha256": "0" * 64}).status_code == 201


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"])
def test_what_a_proxy_passes_on_is_not_local(local: httpx.Client, header: str) -> None:
    assert local.get("/v1/runs", headers={header: "127.0.0.1"}).status_code == 401


def test_a_wrong_key_is_refused_even_where_none_is_needed(local: httpx.Client) -> None:
    assert local.get("/v1/runs", headers={"X-API-Key": "wnw_wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("host", "hosts", "open_"),
    [
        ("127.0.0.1", (), True),
        ("localhost", (), True),
        ("::1", (), True),
        ("127.0.0.1", ("winnow.example",), False),
        ("0.0.0.0", (), False),
        ("::", (), False),
        ("192.168.1.4", (), False),
        ("localhost.evil.example", (), False),
    ],
)
def test_no_anonymous_mode_off_loopback(tmp_path: Path, host: str, hosts: tuple[str, ...], open_: bool) -> None:
    settings = Settings(root=str(tmp_path), host=host, allowed_hosts=hosts)
    assert local_access(settings) is open_
    app = create_app(settings)
    assert app.state.service.local_access is open_
    app.state.service.close()


def test_loopback_addresses() -> None:
    assert is_loopback("127.9.9.9") and is_loopback("[::1]")
    assert not is_loopback("example.org") and not is_loopback("")


def test_a_key_opens_with_either_header(house: Any) -> None:
    _, secret = house.service.catalog.keys.create(house.tenant, "both", [Scope.READ])
    assert house.nobody.get("/v1/runs", headers={"X-API-Key": secret}).status_code == 200
    assert house.nobody.get("/v1/runs", headers={"Authorization": f"bearer {secret}"}).status_code == 200


def test_scopes_bound_what_a_key_does(house: Any, queued: dict[str, Any]) -> None:
    reader, writer, feeder = (house.client([scope]) for scope in (Scope.READ, Scope.WRITE, Scope.FEEDBACK))
    cancel = f"/v1/runs/{queued['id']}:cancel"
    assert reader.get("/v1/runs").status_code == 200
    assert reader.post(cancel).status_code == 403
    assert writer.get("/v1/runs").status_code == 403
    assert feeder.post(cancel).status_code == 403
    assert reader.get("/metrics").status_code == 403
    assert writer.post(cancel).status_code == 202


def test_expired_and_revoked_keys_open_nothing(house: Any) -> None:
    keys = house.service.catalog.keys
    expiring = house.client([Scope.READ], ttl_s=0.2)
    key, secret = keys.create(house.tenant, "revoked", [Scope.READ])
    revoked = {"X-API-Key": secret}
    assert house.nobody.get("/v1/runs", headers=revoked).status_code == 200
    keys.revoke(house.tenant, key.id)
    assert house.nobody.get("/v1/runs", headers=revoked).status_code == 401
    while expiring.get("/v1/runs").status_code == 200:
        time.sleep(0.05)
    assert expiring.get("/v1/runs").json()["code"] == "unauthenticated"


def test_what_let_a_caller_in_may_stop_doing_so(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = house.service.catalog.keys.create(house.tenant, "watched", [Scope.READ])
    by_key = Caller(house.tenant, key.id, key.scopes)
    here = Caller(LOCAL_TENANT, "local", key.scopes)
    fresh, old = (Caller(house.tenant, "oidc:ada", key.scopes, time.time() + s) for s in (60, -60))
    assert [still_opens(house.service, caller) for caller in (by_key, here, fresh, old)] == [True, True, True, False]
    house.service.catalog.keys.revoke(house.tenant, key.id)
    assert not still_opens(house.service, by_key)

    def away(key_ids: list[str]) -> set[str]:
        raise RetryableError("the catalog is out of reach")

    monkeypatch.setattr(house.service.catalog.keys, "still_open", away)
    assert still_opens(house.service, by_key), "an outage closes no stream"


def test_guessing_keys_is_slowed_down_and_bothers_nobody_else(local: httpx.Client) -> None:
    answers = [local.get("/v1/runs", headers={"X-API-Key": f"wnw_{n}"}).status_code for n in range(25)]
    assert answers[:20] == [401] * 20
    assert 429 in answers[20:]
    assert local.get("/v1/runs").status_code == 200


def test_local_runs_are_the_local_tenants(tmp_path: Path, serve: Any) -> None:
    app = create_app(Settings(root=str(tmp_path)))
    secret = app.state.service.catalog.keys.bootstrap()
    for url in serve(app):
        body = {"name": "a.csv", "size": 1, "sha256": "0" * 64}
        made = httpx.post(f"{url}/v1/uploads", json=body).json()["id"]
        assert app.state.service.catalog.uploads.get(LOCAL_TENANT, made).id == made
        with_key = httpx.get(f"{url}/v1/uploads/{made}", headers={"X-API-Key": str(secret)})
        assert with_key.status_code == 200  # the first admin key is of the same tenant


def test_a_key_that_asks_too_often_is_told_when_to_come_back(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.service.requests, "_burst", 3.0)
    monkeypatch.setattr(house.service.requests, "_per_s", 0.001)
    busy, other = house.client([Scope.READ]), house.client([Scope.READ])
    assert [busy.get("/v1/runs").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert int(busy.get("/v1/runs").headers["retry-after"]) > 0
    assert other.get("/v1/runs").status_code == 200

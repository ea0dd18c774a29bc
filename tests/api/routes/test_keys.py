"""Keys over REST: a secret told once, scopes that hold, an end, and only for administrators."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from curator.catalog import Scope


def test_a_made_key_does_what_its_scopes_say(house: Any) -> None:
    made = house.one.post("/v1/keys", json={"name": "reader", "scopes": ["read"]})
    assert made.status_code == 201
    secret = made.json()["secret"]
    with_it = {"Authorization": f"Bearer {secret}"}
    assert house.nobody.get("/v1/runs", headers=with_it).status_code == 200
    assert house.nobody.get("/v1/keys", headers=with_it).status_code == 403
    expires = dt.datetime.fromisoformat(made.json()["expires_at"])
    assert dt.timedelta(days=89) < expires - dt.datetime.now(dt.UTC) < dt.timedelta(days=91)
    shown = house.one.get(made.headers["location"])
    assert shown.json() == {name: value for name, value in made.json().items() if name != "secret"} | {
        "last_used_at": shown.json()["last_used_at"]
    }
    listed = house.one.get("/v1/keys")
    assert secret not in listed.text and made.json()["prefix"] in listed.text
    assert house.one.delete(f"/v1/keys/{made.json()['id']}").status_code == 204
    assert house.nobody.get("/v1/runs", headers=with_it).status_code == 401
    assert house.one.get(made.headers["location"]).json()["revoked_at"] is not None
    assert house.one.get("/v1/keys/key_nobody").status_code == 404


def test_a_secret_is_kept_nowhere(house: Any) -> None:
    asked = {"name": "kept?", "scopes": ["read"]}
    secret = house.one.post("/v1/keys", json=asked, headers={"Idempotency-Key": "keys-once"}).json()["secret"]
    for file in Path(house.service.store.base).glob("winnow.db*"):
        assert secret.encode() not in file.read_bytes(), file


def test_keys_come_in_pages(house: Any) -> None:
    for number in range(3):
        house.one.post("/v1/keys", json={"name": f"page {number}", "scopes": ["read"]})
    whole = [key["id"] for key in house.one.get("/v1/keys?limit=1000").json()["items"]]
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = house.one.get("/v1/keys", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [key["id"] for key in page["items"]]
        cursor = page["next_cursor"]
    assert seen == whole == sorted(set(whole))


def test_only_an_administrator_makes_keys(house: Any) -> None:
    everything_else = house.client([scope for scope in Scope if scope is not Scope.ADMIN])
    assert everything_else.post("/v1/keys", json={"name": "x", "scopes": ["admin"]}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["read"], "expires_in_s": 0},
    ],
)
def test_a_key_without_sense_is_refused(house: Any, body: dict[str, Any]) -> None:
    assert house.one.post("/v1/keys", json=body).status_code == 422


def test_the_same_request_again_makes_no_second_key_and_tells_no_secret(house: Any) -> None:
    asked, once = {"name": "once", "scopes": ["read"]}, {"Idempotency-Key": "one-key"}
    first, again = (house.one.post("/v1/keys", json=asked, headers=once) for _ in range(2))
    assert again.status_code == first.status_code == 201
    assert again.json() == {**first.json(), "secret": None}
    assert again.headers["idempotent-replayed"] == "true" and again.headers["location"] == first.headers["location"]
    with_it = {"Authorization": f"Bearer {first.json()['secret']}"}
    assert house.nobody.get("/v1/runs", headers=with_it).status_code == 200, "the secret told first still opens"
    assert [key["id"] for key in house.one.get("/v1/keys").json()["items"]].count(first.json()["id"]) == 1
    other = house.one.post("/v1/keys", json={**asked, "scopes": ["admin"]}, headers=once)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert house.two.post("/v1/keys", json=asked, headers=once).json()["id"] != first.json()["id"]

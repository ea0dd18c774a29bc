"""The walk over every road: another tenant's id is 404, a key without the scope is 403, no key is 401. A road that is
in none of the lists below fails the walk, so a new one is put in its place on purpose."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute

from api.app import RESOURCES
from api.auth import scope_of
from curator.catalog import Scope

PUBLIC = {"/healthz/live", "/healthz/ready", "/version", "/", "/dashboard/{name}"}
OWN_ONLY = {  # take no id of anything a tenant owns
    ("GET", "/metrics"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/storage"),
    ("GET", "/v1/quota"),
    ("GET", "/v1/webhooks"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/recipes"),
    ("POST", "/v1/recipes"),
    ("POST", "/v1/recipes:validate"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/uploads"),
    ("GET", "/v1/datasets"),
    ("GET", "/v1/runs"),
    ("GET", "/v1/manifests"),
    ("GET", "/v1/aliases"),
    ("GET", "/v1/epoch-plans"),
    ("GET", "/v1/training-jobs"),
    ("GET", "/v1/review/queues"),
    ("GET", "/v1/policies"),
    ("GET", "/v1/exports"),
    ("GET", "/v1/rewrites"),
    ("GET", "/v1/operations"),
}
SAMPLE = "0" * 32
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/runs/{run_id}/decisions:override"): {"changes": [{"sample_id": SAMPLE, "action": "drop"}]},
    ("POST", "/v1/runs/{run_id}:what-if"): {"set": {"length.min_chars": 5}},
    ("POST", "/v1/training-jobs/{job_id}/feedback"): {
        "rows": [{"sample_id": SAMPLE, "epoch": 0, "step": 1, "loss": 0.5}]
    },
    ("POST", "/v1/datasets/{dataset_id}/versions"): {"upload_ids": ["upl_walked"]},
    ("POST", "/v1/shards:presign"): {"digests": ["0" * 64]},
    ("POST", "/v1/review/queues/{queue_id}:apply"): {},
    ("POST", "/v1/epoch-plans/{plan_id}/epochs/{epoch}/losses"): {"easy": 1.0},
    ("POST", "/v1/epoch-plans/{plan_id}:simulate"): {"bytes_per_s": 1.0, "rows_per_s": 1.0},
    ("POST", "/v1/epoch-plans/{plan_id}/epochs/{epoch}/leases"): {},
    **{
        ("POST", f"/v1/epoch-plans/{{plan_id}}/epochs/{{epoch}}/leases/{{lease_id}}:{act}"): {"fence": 1}
        for act in ("heartbeat", "ack", "release")
    },
    ("PUT", "/v1/policies/{name}/aliases/{alias}"): {"number": 1},
    ("PUT", "/v1/aliases/{alias_name}"): {"manifest": "walked-to"},
    ("POST", "/v1/policies/{name}/aliases/{alias}:rollback"): {},
    ("POST", "/v1/review/items/{item_id}/verdict"): {"action": "keep", "lease": "0.0"},
    ("POST", "/v1/review/items/{item_id}:skip"): {"lease": "0.0"},
    ("POST", "/v1/review/items/{item_id}:release"): {"lease": "0.0"},
}
"""Bodies that would be taken from the owner."""


def routes() -> list[tuple[str, str]]:
    found = [route for resource in RESOURCES for route in resource.routes.routes if isinstance(route, APIRoute)]
    return sorted((method, route.path) for route in found for method in route.methods)


def address(path: str, owned: dict[str, str]) -> str:
    values = {**owned, "digest": owned["index" if "indexes" in path else "shard"]}
    values["name"] = owned["file" if "/files/" in path else "name"]
    query = f"?base={owned['manifest_id']}" if path.endswith("/diff") else ""
    query = f"?run={owned['run_id']}" if path.startswith("/v1/samples") else query
    return path.format(**values) + query


GUARDED = [pair for pair in routes() if pair[1] not in PUBLIC]
BY_BODY = {
    ("POST", path)
    for path in (
        "/v1/runs",
        "/v1/datasets",
        "/v1/epoch-plans",
        "/v1/training-jobs",
        "/v1/review/queues",
        "/v1/exports",
        "/v1/shards:presign",
        "/v1/recipes:dry-run",
    )
}
"""Name what they use in the body: `test_another_tenants_id_in_a_body_is_not_there` asks them."""
BY_ID = [pair for pair in GUARDED if pair not in OWN_ONLY and pair not in BY_BODY]
ASKING = {
    ("POST", "/v1/recipes:validate"),
    ("POST", "/v1/runs/{run_id}:what-if"),
    ("POST", "/v1/epoch-plans/{plan_id}:simulate"),
    ("POST", "/v1/shards:presign"),
}
"""Change nothing, so a key that may read may send them."""


def test_every_road_is_in_one_list() -> None:
    """What takes an id is walked as BY_ID; what takes none is named above."""
    for method, path in GUARDED:
        named = ((method, path) in OWN_ONLY) + ((method, path) in BY_BODY) + ("{" in path)
        assert named == 1, f"{method} {path}: say in this file whose things it gives"
    for method, path in (*OWN_ONLY, *BY_BODY, *ASKING, *BODIES):
        assert (method, path) in routes(), f"{method} {path} is no road any more"


def test_every_road_asks_for_a_scope() -> None:
    found = [route for resource in RESOURCES for route in resource.routes.routes if isinstance(route, APIRoute)]
    open_to_all = {route.path for route in found if scope_of(route) is None}
    assert open_to_all == PUBLIC
    reading = {(method, route.path) for route in found for method in route.methods if scope_of(route) is Scope.READ}
    assert {pair for pair in reading if pair[0] not in ("GET", "HEAD")} == ASKING


@pytest.fixture(scope="module")
def lacking(house: Any) -> dict[Scope, Any]:
    """For each scope a client that has all others but that one (and not admin, which has all)."""
    plain = [scope for scope in Scope if scope is not Scope.ADMIN]
    return {scope: house.client([other for other in plain if other is not scope]) for scope in Scope}


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_key_without_the_scope_does_nothing(
    house: Any, owned: dict[str, str], lacking: dict[Scope, Any], method: str, path: str
) -> None:
    found = [route for resource in RESOURCES for route in resource.routes.routes if isinstance(route, APIRoute)]
    [scope] = {scope_of(route) for route in found if route.path == path and method in route.methods}
    answer = lacking[scope].request(method, address(path, owned), json=BODIES.get((method, path)))
    assert answer.status_code == 403, (method, path, answer.text)
    assert method == "HEAD" or answer.json()["code"] == "forbidden"


@pytest.mark.parametrize(("method", "path"), BY_ID)
def test_another_tenants_id_is_not_there(house: Any, owned: dict[str, str], method: str, path: str) -> None:
    answer = house.two.request(method, address(path, owned), json=BODIES.get((method, path)))
    assert answer.status_code == 404, (method, path, answer.text)
    if method != "HEAD":
        assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/datasets", {"upload_ids": ["{upload_id}"]}),
        ("/v1/runs", {"dataset": "{dataset_id}", "recipe": "text"}),
        ("/v1/recipes:dry-run", {"dataset": "{dataset_id}", "recipe": "text"}),
        ("/v1/recipes:validate", {"recipe": "{recipe_id}"}),
        ("/v1/recipes", {"recipe": "{recipe_id}"}),
        ("/v1/epoch-plans", {"manifest": "{manifest_id}"}),
        ("/v1/shards:presign", {"digests": ["{shard}"]}),
        ("/v1/review/queues", {"run": "{run_id}"}),
        ("/v1/exports", {"manifest": "{manifest_id}", "format": "jsonl"}),
        ("/v1/training-jobs", {"manifest": "{manifest_id}", "mode": "external"}),
        ("/v1/training-jobs", {"plan": "{plan_id}", "mode": "external"}),
    ],
)
def test_another_tenants_id_in_a_body_is_not_there(
    house: Any, owned: dict[str, str], path: str, body: dict[str, Any]
) -> None:
    filled = {
        key: [item.format(**owned) for item in value] if isinstance(value, list) else value.format(**owned)
        for key, value in body.items()
    }
    answer = house.two.post(path, json=filled)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


def test_another_tenants_recipe_is_not_there(house: Any, owned: dict[str, str], send: Any, parquet: bytes) -> None:
    """Until the tenant keeps an equal one: then it is theirs."""
    dataset = house.two.post("/v1/datasets", json={"upload_ids": [send(house.two, parquet)]}).json()["id"]
    for path in ("/v1/runs", "/v1/recipes:dry-run"):
        answer = house.two.post(path, json={"dataset": dataset, "recipe": owned["recipe_id"]})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


def test_another_tenants_upload_is_no_version(house: Any, owned: dict[str, str], send: Any, parquet: bytes) -> None:
    dataset = house.two.post("/v1/datasets", json={"upload_ids": [send(house.two, parquet)]}).json()["id"]
    answer = house.two.post(f"/v1/datasets/{dataset}/versions", json={"upload_ids": [owned["upload_id"]]})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


def test_another_tenants_trusted_sample_is_not_there(
    house: Any, owned: dict[str, str], send: Any, parquet: bytes
) -> None:
    dataset = house.two.post("/v1/datasets", json={"upload_ids": [send(house.two, parquet)]}).json()["id"]
    for trusted in (owned["upload_id"], owned["dataset_id"]):
        answer = house.two.post("/v1/runs", json={"dataset": dataset, "recipe": "text", "trusted": trusted})
        assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_is_told_without_a_key(house: Any, owned: dict[str, str], method: str, path: str) -> None:
    target = address(path, {**owned, "name": "text"})
    answer = house.nobody.request(method, target, json=BODIES.get((method, path)))
    assert answer.status_code == 401, (method, path, answer.text)


def test_lists_hold_only_the_own_things(house: Any, owned: dict[str, str]) -> None:
    lists = (
        "uploads",
        "datasets",
        "runs",
        "manifests",
        "epoch-plans",
        "training-jobs",
        "review/queues",
        "policies",
        "exports",
        "recipes",
        "operations",
        "keys",
        "webhooks",
    )
    for path in (f"/v1/{name}" for name in lists):
        theirs, mine = (
            {item.get("id", item.get("name")) for item in client.get(path).json()["items"]}
            for client in (house.two, house.one)
        )
        assert not theirs & set(owned.values()), path
        assert mine & set(owned.values()), path


def test_the_owner_is_let_in_where_others_are_not(house: Any, owned: dict[str, str]) -> None:
    """The walk above would also pass if nothing were ever found."""
    for method, path in BY_ID:
        if method == "GET" and not path.endswith("/events"):
            answer = house.one.get(address(path, owned))
            assert answer.status_code == 200, (path, answer.text)

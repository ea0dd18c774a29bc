"""The audit log over REST: every change has a line, and every refused promotion; what was only read has none."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute

from api.app import RESOURCES
from api.auth import scope_of
from api.trail import is_audited
from curator.catalog import Scope


def test_a_change_leaves_a_line_with_its_request(house: Any, dataset: dict[str, Any]) -> None:
    actor = house.client([Scope.WRITE, Scope.READ])
    answer = actor.post("/v1/runs", json={"dataset": dataset["id"], "recipe": "text"})
    assert answer.status_code == 202
    refused = actor.post("/v1/runs", json={"dataset": "ds_nothing", "recipe": "text"})
    assert refused.status_code == 404
    actor.get("/v1/runs")
    cancelled = actor.post(f"/v1/runs/{answer.json()['id']}:cancel")
    newest = house.one.get("/v1/audit?limit=2").json()["items"]
    assert [line["action"] for line in newest] == ["POST /v1/runs/{run_id}:cancel", "POST /v1/runs"]
    assert newest[0]["subject"] == f"/v1/runs/{answer.json()['id']}:cancel"
    assert newest[0]["request_id"] == cancelled.headers["x-request-id"]
    assert newest[0]["actor"].startswith("key_")
    assert newest[1]["subject"] == f"/v1/runs/{answer.json()['id']}", "which one was made"
    mine = house.one.get(f"/v1/audit?actor={newest[0]['actor']}").json()["items"]
    assert len(mine) == 2


def test_a_line_says_what_was_made_of_what(house: Any, finished: dict[str, Any]) -> None:
    manifest = finished["summary"]["manifest"]
    made = house.one.post(f"/v1/manifests/{manifest}:compact").json()["id"]
    key = house.one.post("/v1/keys", json={"name": "noted", "scopes": ["read"]}).json()["id"]
    newest = house.one.get("/v1/audit?limit=2").json()["items"]
    assert newest[0]["subject"] == f"/v1/keys/{key}"
    assert newest[1]["subject"] == f"/v1/manifests/{manifest}:compact /v1/rewrites/{made}"
    house.one.post(f"/v1/rewrites/{made}:cancel")


def test_a_refused_promotion_leaves_a_line(house: Any, finished: dict[str, Any]) -> None:
    asked = {"json": {"manifest": finished["summary"]["manifest"]}}
    writer, promoter = house.client([Scope.WRITE]), house.client([Scope.PROMOTE])
    statuses = [
        writer.put("/v1/aliases/refused", **asked, headers={"If-Match": "*"}).status_code,
        promoter.put("/v1/aliases/latest", **asked, headers={"If-Match": "*"}).status_code,
        promoter.put("/v1/aliases/refused", **asked, headers={"If-Match": '"7"'}).status_code,
    ]
    assert statuses == [403, 409, 412]
    assert promoter.put("/v1/aliases/refused", **asked).status_code == 428, "it was only asked what is needed"
    assert house.nobody.put("/v1/aliases/refused", **asked).status_code == 401
    lines = house.one.get("/v1/audit?limit=3").json()["items"]
    assert [line["status"] for line in reversed(lines)] == statuses
    assert {line["action"] for line in lines} == {"PUT /v1/aliases/{alias_name}"}
    assert lines[2]["actor"] != lines[1]["actor"] == lines[0]["actor"]


def test_another_tenants_changes_are_not_told(house: Any) -> None:
    house.one.post("/v1/uploads", json={"name": "a.csv", "size": 1, "sha256": "0" * 64})
    numbers = {line["number"] for line in house.two.get("/v1/audit?limit=1000").json()["items"]}
    assert not numbers & {line["number"] for line in house.one.get("/v1/audit?limit=1000").json()["items"]}


def test_every_changing_road_leaves_a_line_but_these() -> None:
    found = [route for resource in RESOURCES for route in resource.routes.routes if isinstance(route, APIRoute)]
    changing = [route for route in found if (route.methods or set()) - {"GET", "HEAD"}]
    silent = {route.name for route in changing if not is_audited(route)}
    only_asking = {route.name for route in changing if scope_of(route) is Scope.READ}
    assert only_asking == {"presign", "simulate_plan", "validate_recipe", "what_if_run"}
    feeding = {route.name for route in changing if scope_of(route) is Scope.FEEDBACK}
    assert silent == only_asking | feeding | {"put_part"}

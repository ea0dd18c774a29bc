"""Policies over REST: versions with their scorecards, and aliases that move under If-Match and leave a trail."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from curator.catalog import Scope


def card(ap: float, basis: str = "audited") -> dict[str, Any]:
    return {"promise": {"basis": basis, "false_drop": 0.01, "max_false_drop": 0.05}, "calibration_ap": ap}


@pytest.fixture
def policy(house: Any, request: pytest.FixtureRequest) -> str:
    """A policy of the test's own with three versions: good, worse, and one no trusted row stands behind."""
    name = f"text-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    for number, scorecard in enumerate((card(0.8), card(0.7), card(0.9, "simulated")), 1):
        weights = f"weights {number}".encode()
        path = f"policies/{name}/{number}"
        house.service.store.write_bytes(f"{path}/judge.safetensors", weights)
        house.service.catalog.policies.record(
            house.tenant, name, f"judge_{number}", task="text", run="run_1", recipe_digest="d", path=path,
            sha256=hashlib.sha256(weights).hexdigest(), scorecard=scorecard,
        )  # fmt: skip
    return name


def move(
    client: httpx.Client, name: str, alias: str, number: int, version: int | str | None, **more: Any
) -> httpx.Response:
    headers = {} if version is None else {"If-Match": f'"{version}"' if version != "*" else "*"}
    return client.put(f"/v1/policies/{name}/aliases/{alias}", json={"number": number, **more}, headers=headers)


def test_a_policy_tells_its_versions_and_aliases(house: Any, policy: str) -> None:
    told = house.one.get(f"/v1/policies/{policy}").json()
    nothing = {"number": None, "version": 0}
    assert told == {
        "name": policy, "task": "text", "newest": 3, "champion": {"alias": "champion", **nothing},
        "candidate": {"alias": "candidate", **nothing},
    }  # fmt: skip
    assert told in house.one.get("/v1/policies?limit=1000").json()["items"]
    page = house.one.get(f"/v1/policies/{policy}/versions?limit=2").json()
    rest = house.one.get(f"/v1/policies/{policy}/versions?cursor={page['next_cursor']}").json()
    assert [row["number"] for row in page["items"] + rest["items"]] == [3, 2, 1]


def test_a_version_says_whether_it_may_be_promoted(house: Any, policy: str) -> None:
    found = house.one.get(f"/v1/policies/{policy}/versions/1")
    assert (found.json()["scorecard"], found.json()["promotable"]) == (card(0.8), True)
    assert "path" not in found.json() and "tenant" not in found.json()
    again = house.one.get(f"/v1/policies/{policy}/versions/1", headers={"If-None-Match": found.headers["etag"]})
    assert again.status_code == 304
    third = house.one.get(f"/v1/policies/{policy}/versions/3").json()
    assert [check["check"] for check in third["promotion"] if not check["passed"]] == ["audited"]
    assert house.one.get(f"/v1/policies/{policy}/versions/4").status_code == 404
    assert house.one.get("/v1/policies/nobody").status_code == 404


def test_weights_come_as_they_were_learned(house: Any, policy: str) -> None:
    answer = house.one.get(f"/v1/policies/{policy}/versions/2/weights")
    assert answer.content == b"weights 2"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["content-disposition"] == 'attachment; filename="judge_2.safetensors"'
    part = house.one.get(f"/v1/policies/{policy}/versions/2/weights", headers={"Range": "bytes=8-8"})
    assert (part.status_code, part.content) == (206, b"2")


def test_an_alias_moves_under_if_match_alone(house: Any, policy: str) -> None:
    assert move(house.one, policy, "candidate", 1, None).status_code == 428
    assert move(house.one, policy, "candidate", 1, 7).status_code == 412
    first = move(house.one, policy, "candidate", 1, 0)
    assert (first.status_code, first.headers["etag"], first.json()["number"]) == (200, '"1"', 1)
    assert move(house.one, policy, "candidate", 2, 0).status_code == 412
    assert move(house.one, policy, "candidate", 2, "*").json()["version"] == 2
    seen = house.one.get(f"/v1/policies/{policy}/aliases/candidate")
    assert (seen.headers["etag"], seen.json()["number"]) == ('"2"', 2)
    assert move(house.one, policy, "candidate", 9, 2).status_code == 404
    assert move(house.one, policy, "latest", 1, 0).status_code == 422


def test_the_gate_says_why_and_every_move_leaves_a_line(house: Any, policy: str) -> None:
    shut = move(house.one, policy, "champion", 3, 0)
    assert (shut.status_code, "simulated" in shut.json()["detail"]) == (409, True)
    assert move(house.one, policy, "champion", 2, 0, note="first").status_code == 200
    assert move(house.one, policy, "champion", 1, 1, note="better").status_code == 200
    worse = move(house.one, policy, "champion", 2, 2)
    assert (worse.status_code, "0.700" in worse.json()["detail"]) == (409, True)
    back = f"/v1/policies/{policy}/aliases/champion:rollback"
    assert house.one.post(back, json={}).status_code == 428
    rolled = house.one.post(back, json={"note": "it broke"}, headers={"If-Match": '"2"'})
    assert (rolled.status_code, rolled.json()["number"], rolled.headers["etag"]) == (200, 2, '"3"')
    moves = house.one.get(f"/v1/policies/{policy}/moves").json()["items"]
    told = [(item["kind"], item["from_number"], item["to_number"], item["note"]) for item in moves]
    assert told == [("rollback", 1, 2, "it broke"), ("move", 2, 1, "better"), ("move", None, 2, "first")]
    assert all(item["by"].startswith("key_") for item in moves)
    assert {check["check"] for check in moves[1]["gate"]} == {"audited", "false_drop", "no_worse"}
    assert house.one.post(back, json={}, headers={"If-Match": '"3"'}).json()["number"] is None
    assert house.one.post(back, json={}, headers={"If-Match": '"4"'}).status_code == 409


def test_promoting_needs_its_own_scope(house: Any, policy: str) -> None:
    writer, promoter = house.client([Scope.READ, Scope.WRITE]), house.client([Scope.PROMOTE])
    assert move(writer, policy, "candidate", 1, 0).status_code == 403
    back = f"/v1/policies/{policy}/aliases/candidate:rollback"
    assert writer.post(back, json={}, headers={"If-Match": '"0"'}).status_code == 403
    assert move(promoter, policy, "candidate", 1, 0).status_code == 200
    assert promoter.get(f"/v1/policies/{policy}").status_code == 403

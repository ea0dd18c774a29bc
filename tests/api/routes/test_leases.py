"""Leases over REST: blocks of positions to consumers that come and go, each acknowledged once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from curator.catalog import Scope
from curator.catalog.schema_plans import reading_blocks


@pytest.fixture(scope="module")
def leases(house: Any, finished: dict[str, Any]) -> str:
    """The address of an epoch's leases: 8 rows a global batch."""
    body = {"manifest": finished["summary"]["manifest"], "global_batch_size": 8, "seed": 71, "curriculum": "constant"}
    plan = house.one.post("/v1/epoch-plans", json=body).json()["id"]
    return f"/v1/epoch-plans/{plan}/epochs/1/leases"


def take(house: Any, leases: str, group: str, **more: Any) -> dict[str, Any]:
    answer = house.one.post(leases, json={"group": group, "positions": 20, **more})
    assert answer.status_code in (200, 201), answer.text
    assert (answer.status_code == 201) == (answer.json()["lease"] is not None)
    return answer.json()  # type: ignore[no-any-return]


def expire(house: Any, lease: dict[str, Any]) -> None:
    late = sa.update(reading_blocks).where(reading_blocks.c.id == lease["id"])
    with house.service.catalog.database.write() as connection:
        connection.execute(late.values(lease_until=reading_blocks.c.created_at - 60.0))


def test_consumers_share_an_epoch_until_it_is_acknowledged(house: Any, leases: str) -> None:
    length = house.one.get(leases.removesuffix("/leases")).json()["num_positions"]
    spans = []
    while (found := take(house, leases, "share"))["lease"] is not None:
        lease = found["lease"]
        assert lease["first"] % 8 == 0 and found["reading"]["block_positions"] == 16
        spans.append((lease["first"], lease["stop"]))
        done = house.one.post(f"{leases}/{lease['id']}:ack?group=share", json={"fence": lease["fence"]})
        assert done.status_code == 200, done.text
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    view = house.one.get(f"{leases}?group=share").json()
    assert found["reading"] == view and view["done"] and view["poll_after_ms"] is None
    assert (view["positions_acked"], view["acked"], view["repeated"]) == (length, len(spans), 0)


def test_a_request_for_a_block_acknowledges_those_before(house: Any, leases: str) -> None:
    one, two = take(house, leases, "with")["lease"], take(house, leases, "with")["lease"]
    expire(house, two)
    done = [{"id": lease["id"], "fence": lease["fence"]} for lease in (one, two)]
    found = take(house, leases, "with", done=done)  # the second's block is queued anew before
    assert found["lost"] == [two["id"]] and found["lease"]["id"] == two["id"]
    assert (found["reading"]["acked"], found["reading"]["leased"]) == (1, 1)
    again = take(house, leases, "with", done=done[:1])
    assert again["lost"] == [] and again["reading"]["acked"] == 1, "sent twice it counts once"
    other = house.one.post(leases, json={"group": "without", "positions": 20, "done": done[:1]})
    assert other.status_code == 404, other.text
    assert house.one.get(f"{leases}?group=without").json()["leased"] == 0, "all of it or nothing"


def test_a_dead_consumers_block_goes_to_another_and_its_late_ack_is_refused(house: Any, leases: str) -> None:
    first = take(house, leases, "late", consumer="one")["lease"]
    kept = house.one.post(f"{leases}/{first['id']}:heartbeat?group=late", json={"fence": first["fence"]})
    assert kept.status_code == 200 and kept.json()["leased"] == 1
    expire(house, first)
    again = take(house, leases, "late", consumer="two")["lease"]
    assert (again["id"], again["first"], again["attempt"]) == (first["id"], 0, 2)
    for act in ("ack", "heartbeat", "release"):
        answer = house.one.post(f"{leases}/{first['id']}:{act}?group=late", json={"fence": first["fence"]})
        assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost"), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    for _ in range(2):  # the first answer may be lost on its way
        answer = house.one.post(f"{leases}/{again['id']}:ack?group=late", json={"fence": again["fence"]})
        assert answer.status_code == 200 and answer.json()["acked"] == 1


def test_when_all_is_held_there_is_nothing_to_give_and_a_release_gives_it_at_once(house: Any, leases: str) -> None:
    held = take(house, leases, "held", positions=1_000_000)
    assert (held["reading"]["blocks"], held["lease"]["stop"]) == (1, held["reading"]["positions"])
    empty = take(house, leases, "held")
    assert empty["lease"] is None and not empty["reading"]["done"] and empty["reading"]["poll_after_ms"] > 0
    lease = held["lease"]
    house.one.post(f"{leases}/{lease['id']}:release?group=held", json={"fence": lease["fence"]})
    assert take(house, leases, "held")["lease"]["id"] == lease["id"]


def test_a_request_sent_again_gives_the_same_lease(house: Any, leases: str) -> None:
    body, key = {"group": "again", "positions": 8}, {"Idempotency-Key": "lease-again"}
    first, second = (house.one.post(leases, json=body, headers=key) for _ in range(2))
    assert first.json() == second.json() and second.headers["idempotent-replayed"] == "true"
    assert house.one.get(f"{leases}?group=again").json()["leased"] == 1


def test_who_has_seen_how_far_it_is_is_not_told_again(house: Any, leases: str) -> None:
    take(house, leases, "seen")
    tag = house.one.get(f"{leases}?group=seen").headers["etag"]
    assert house.one.get(f"{leases}?group=seen", headers={"If-None-Match": tag}).status_code == 304
    take(house, leases, "seen")
    assert house.one.get(f"{leases}?group=seen", headers={"If-None-Match": tag}).status_code == 200


def test_leases_need_the_scope_of_training(house: Any, leases: str) -> None:
    reader, trainer = house.client([Scope.READ]), house.client([Scope.READ, Scope.FEEDBACK])
    assert reader.post(leases, json={"group": "scope"}).status_code == 403
    lease = trainer.post(leases, json={"group": "scope"}).json()["lease"]
    assert reader.post(f"{leases}/{lease['id']}:ack?group=scope", json={"fence": lease["fence"]}).status_code == 403
    assert reader.get(f"{leases}?group=scope").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"group": "no spaces"}, 422),
        ({"lease_s": 0.1}, 422),
        ({"lease_s": 1e9}, 422),
        ({"positions": 0}, 422),
        ({"block": 5}, 422),
    ],
)
def test_wishes_that_cannot_be(house: Any, leases: str, body: dict[str, Any], status: int) -> None:
    assert house.one.post(leases, json=body).status_code == status


def test_what_is_not_there(house: Any, leases: str) -> None:
    assert house.one.get(f"{leases}?group=nobody").status_code == 404
    assert house.one.post(leases.replace("epochs/1", "epochs/99"), json={}).status_code == 400
    lease = take(house, leases, "mine")["lease"]
    take(house, leases, "theirs")
    other = house.one.post(f"{leases}/{lease['id']}:ack?group=theirs", json={"fence": lease["fence"]})
    assert (other.status_code, other.json()["code"]) == (404, "not_found")

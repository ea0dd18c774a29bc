"""What bodies have in common: no unknown fields, nothing that cannot be stored, no colon in an id."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("name", [r"\ud800", r"a\udfffb", r"\u0000", r"x\u0000y"])
def test_what_no_database_can_hold_is_refused(house: Any, name: str) -> None:
    body = f'{{"name": "{name}", "size": 1, "sha256": "{"0" * 64}"}}'
    answer = house.one.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")
    assert "character" in answer.text or "surrogate" in answer.text


def test_characters_spelt_as_pairs_and_backslashes_are_taken(house: Any) -> None:
    body = rf'{{"name": "\ud83d\ude00 \\u0000.csv", "size": 1, "sha256": "{"0" * 64}"}}'
    answer = house.one.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "\U0001f600 \\u0000.csv"


@pytest.mark.parametrize("path", ["/v1/runs/a%00b", "/v1/runs?cursor=%00", "/v1/runs?state=queued%00"])
def test_a_nul_in_an_address_is_refused_at_the_door(house: Any, path: str) -> None:
    assert house.one.get(path).status_code in (400, 404)


def test_an_order_is_no_id(house: Any, queued: dict[str, Any]) -> None:
    answer = house.one.get(f"/v1/runs/{queued['id']}:cancel")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

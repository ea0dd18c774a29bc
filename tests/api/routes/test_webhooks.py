"""Webhooks over REST: only below an allowed prefix, a secret told once, what is owed can be looked at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from curator.catalog.events import KINDS

README = Path(__file__).parents[3] / "api" / "README.md"


def test_a_webhook_is_told_of_runs(house: Any, dataset: dict[str, Any]) -> None:
    made = house.one.post("/v1/webhooks", json={"url": "https://hooks.example.com/a", "kinds": ["run.state"]})
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    at = f"/v1/webhooks/{made.json()['id']}"
    assert "secret" not in house.one.get(at).json()
    run = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": "text"}).json()["id"]
    house.one.post(f"/v1/runs/{run}:cancel")
    house.service.catalog.webhooks.owe()
    owed = house.one.get(f"{at}/deliveries").json()["items"]
    assert [item["state"] for item in owed] == ["owed", "owed"]
    assert house.one.delete(at).status_code == 204
    assert house.one.get(at).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "http://hooks.example.com/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://hooks.example.com/../x",
    ],
)
def test_what_is_not_allowed_is_refused(house: Any, url: str) -> None:
    answer = house.one.post("/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "WINNOW_WEBHOOK_ROOTS" in answer.json()["detail"]


def test_the_same_request_again_makes_no_second_webhook_and_tells_no_secret(house: Any) -> None:
    asked, once = {"url": "https://hooks.example.com/once"}, {"Idempotency-Key": "one-webhook"}
    first, again = (house.one.post("/v1/webhooks", json=asked, headers=once) for _ in range(2))
    assert first.json()["secret"] is not None
    assert (again.status_code, again.json()) == (201, {**first.json(), "secret": None})
    other = house.one.post("/v1/webhooks", json={**asked, "kinds": ["run.state"]}, headers=once)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    house.one.delete(first.headers["location"])


def test_every_kind_of_event_may_be_asked_for_and_is_documented(house: Any) -> None:
    made = house.one.post("/v1/webhooks", json={"url": "https://hooks.example.com/all", "kinds": list(KINDS)})
    assert (made.status_code, made.json()["kinds"]) == (201, list(KINDS))
    house.one.delete(made.headers["location"])
    refused = house.one.post("/v1/webhooks", json={"url": "https://hooks.example.com/all", "kinds": ["run.begun"]})
    assert refused.status_code == 422
    table = README.read_text().split("## Webhooks")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z]+\.[a-z]+)`", table)) - {"server.key"} == set(KINDS)

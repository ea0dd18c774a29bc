"""The door: headers on everything, hosts and origins, sizes, and a log without texts."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from api.guard import LIMITS


@pytest.mark.parametrize(
    "path", ["/", "/healthz/live", "/v1/runs", "/v1/nothing", "/dashboard/main.js", "/openapi.json"]
)
def test_every_answer_carries_the_security_headers(house: Any, path: str) -> None:
    headers = house.one.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-request-id"].startswith("req_")
    assert "server" not in headers or "uvicorn" in headers["server"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@evil.example"])
def test_a_host_that_is_not_served_is_turned_away(house: Any, host: str) -> None:
    assert house.one.get("/v1/runs", headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8700", "127.0.0.1:1", "[::1]:8700"])
def test_own_names_are_served_on_any_port(house: Any, host: str) -> None:
    assert house.one.get("/v1/runs", headers={"Host": host}).status_code == 200


def test_probes_need_no_host_name(house: Any) -> None:
    assert house.nobody.get("/healthz/ready", headers={"Host": "10.0.0.7"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_foreign_page_changes_nothing(house: Any, queued: dict[str, Any], headers: dict[str, str]) -> None:
    answer = house.one.post(f"/v1/runs/{queued['id']}:cancel", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")
    assert house.one.get(f"/v1/runs/{queued['id']}").json()["state"] == "queued"


def test_the_own_page_may_change_things(house: Any, queued: dict[str, Any]) -> None:
    headers = {"Origin": house.url, "Sec-Fetch-Site": "same-origin"}
    assert house.one.post(f"/v1/runs/{queued['id']}:cancel", headers=headers).status_code == 202


def test_every_path_has_a_body_limit_or_counts_for_itself() -> None:
    unlimited = [pattern.pattern for pattern, limit in LIMITS if limit is None]
    assert unlimited == [r"/v1/uploads/[^/]+/parts/[^/]+"]
    assert LIMITS[-1][0].fullmatch("/any/thing") and LIMITS[-1][1]


def test_the_log_tells_paths_and_no_queries(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="winnow.api"):
        house.one.get("/v1/runs?cursor=a-secret-query")
        house.one.get("/v1/runs")  # the line of the first is written by now
    assert "/v1/runs 400" in caplog.text
    assert "a-secret-query" not in "".join(
        record.getMessage() for record in caplog.records if record.name == "winnow.api"
    )


def test_an_address_makes_no_line_of_its_own_in_the_log(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="winnow.api"):
        assert house.one.get("/v1/runs/%0D%0Areq_0 GET /forged 200").status_code == 404
        house.one.get("/v1/runs")
    lines = [record.getMessage() for record in caplog.records if record.name == "winnow.api"]
    assert any("forged" in line for line in lines)
    assert not any("\n" in line or "\r" in line for line in lines)


@pytest.mark.parametrize("path", ["/v1/runs", "/", "/v1/\n/x", "/v1/uploads/u/parts/1", ""])
def test_every_path_falls_under_a_limit(path: str) -> None:
    assert any(pattern.fullmatch(path) for pattern, _ in LIMITS)

"""One shape for every error: every road into one is walked, and each ends in the same problem+json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import curator.errors
from api.app import create_app
from api.errors import STATUS, Refusal, status_of
from curator.catalog import Scope
from curator.errors import ConflictError, DiskFullError, RetryableError, WinnowError
from curator.settings import Settings

FIELDS = {"type", "title", "status", "detail", "instance", "code", "errors", "request_id"}
PRIVATE = "the user's private sentence"
NOBODY = "run_" + "0" * 32


def shape(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts the one shape and returns the problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == FIELDS
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:winnow:problem:{code}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"] and body["title"]
    assert isinstance(body["errors"], list)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return body  # type: ignore[no-any-return]


Road = Callable[[Any], httpx.Response]
ROADS: dict[str, tuple[Road, int, str]] = {
    "unknown address": (lambda h: h.one.get("/v1/nothing"), 404, "not_found"),
    "unknown page": (lambda h: h.nobody.get("/dashboard/nothing.js"), 404, "not_found"),
    "unknown id": (lambda h: h.one.get(f"/v1/runs/{NOBODY}"), 404, "not_found"),
    "wrong method": (lambda h: h.one.put("/v1/runs"), 405, "method_not_allowed"),
    "missing field": (lambda h: h.one.post("/v1/runs", json={"recipe": "text"}), 422, "bad_request"),
    "unknown field": (
        lambda h: h.one.post("/v1/recipes:validate", json={"recipe": "text", "x": 1}), 422, "bad_request"
    ),
    "no JSON": (
        lambda h: h.one.post("/v1/runs", content=b"{", headers={"Content-Type": "application/json"}), 422, "bad_request"
    ),
    "no body": (lambda h: h.one.post("/v1/runs"), 422, "bad_request"),
    "another media type": (
        lambda h: h.one.post("/v1/runs", content=b"{}", headers={"Content-Type": "text/plain"}), 422, "bad_request"
    ),
    "misspelt query": (lambda h: h.one.get("/v1/runs?limits=3"), 400, "bad_request"),
    "query out of range": (lambda h: h.one.get("/v1/runs?limit=1001"), 422, "bad_request"),
    "foreign cursor": (lambda h: h.one.get("/v1/runs?cursor=zzz"), 400, "bad_request"),
    "bad recipe": (lambda h: h.one.post("/v1/recipes:validate", json={"recipe": "txet"}), 422, "bad_recipe"),
    "no key": (lambda h: h.nobody.get("/v1/runs"), 401, "unauthenticated"),
    "wrong key": (
        lambda h: h.nobody.get("/v1/runs", headers={"Authorization": "Bearer wnw_no"}), 401, "unauthenticated"
    ),
    "another scheme": (
        lambda h: h.nobody.get("/v1/runs", headers={"Authorization": "Basic eA=="}), 401, "unauthenticated"
    ),
    "key without the scope": (lambda h: h.client([Scope.READ]).post("/v1/runs", json={}), 403, "forbidden"),
    "another site's page": (
        lambda h: h.one.post("/v1/runs", json={}, headers={"Origin": "https://evil.example"}), 403, "cross_origin"
    ),
    "another host": (lambda h: h.one.get("/v1/runs", headers={"Host": "evil.example"}), 421, "wrong_host"),
    "too large, announced": (lambda h: h.one.post("/v1/runs", content=b" " * (2**20 + 1)), 413, "too_large"),
    "too large, streamed": (
        lambda h: h.one.post(
            "/v1/runs", content=(b" " * 2**16 for _ in range(40)), headers={"Content-Type": "application/json"}
        ),
        413,
        "too_large",
    ),
    "unknown extension": (
        lambda h: h.one.post("/v1/uploads", json={"name": "x.exe", "size": 1, "sha256": "0" * 64}), 422, "bad_input"
    ),
    "reference not allowed": (lambda h: h.one.post("/v1/datasets", json={"uri": "/etc/passwd"}), 422, "bad_input"),
    "key used for another request": (lambda h: _mismatch(h), 422, "idempotency_mismatch"),
}  # fmt: skip


def _mismatch(house: Any) -> httpx.Response:
    headers = {"Idempotency-Key": "errors-mismatch"}
    house.one.post("/v1/uploads", json={"name": "a.csv", "size": 1, "sha256": "0" * 64}, headers=headers)
    return house.one.post("/v1/uploads", json={"name": "b.csv", "size": 1, "sha256": "0" * 64}, headers=headers)  # type: ignore[no-any-return]


@pytest.mark.parametrize("road", ROADS)
def test_every_road_ends_in_one_shape(house: Any, road: str) -> None:
    walk, status, code = ROADS[road]
    body = shape(walk(house), status, code)
    assert body["instance"].startswith("/")


def test_a_validation_problem_names_each_field_and_repeats_no_value(house: Any) -> None:
    answer = house.one.post("/v1/runs", json={"dataset": 7, "recipe": "text", "engine": "a user's secret text"})
    body = shape(answer, 422, "bad_request")
    assert {item["field"] for item in body["errors"]} == {"body.dataset", "body.engine"}
    assert "secret" not in answer.text


def test_a_wrong_method_says_which_are_right(house: Any) -> None:
    assert house.one.put("/v1/runs").headers["allow"] == "GET, POST"


def test_a_missing_key_says_how_to_show_one(house: Any) -> None:
    assert house.nobody.get("/v1/runs").headers["www-authenticate"].startswith("Bearer")


def test_every_error_class_has_a_status() -> None:
    kinds = [getattr(curator.errors, name) for name in curator.errors.__all__]
    for kind in kinds:
        nearest = next(base for base in kind.__mro__ if base in STATUS)
        assert 400 <= STATUS[nearest] < 600
    assert status_of(DiskFullError("full")) == 507
    assert status_of(ConflictError("now")) == 409
    assert status_of(Refusal(418, "teapot", "no")) == 418


@pytest.fixture
def faulty(tmp_path: Path, serve: Any) -> Iterator[httpx.Client]:
    """An application with routes that fail in ways no real one is known to."""
    app = create_app(Settings(root=str(tmp_path)))

    def boom() -> None:
        raise ValueError(PRIVATE)

    def busy() -> None:
        raise RetryableError("the catalog is busy")

    def odd() -> None:
        raise WinnowError("something of ours")

    for path, act in (("/boom", boom), ("/busy", busy), ("/odd", odd)):
        app.add_api_route(path, act)
    for url in serve(app):
        with httpx.Client(base_url=url) as client:
            yield client


def test_what_nobody_foresaw_is_a_problem_too_and_tells_no_text(
    faulty: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    body = shape(faulty.get("/boom"), 500, "internal")
    assert "private" not in json.dumps(body)
    assert "private" not in caplog.text
    assert "ValueError" in caplog.text and body["request_id"] in caplog.text


def test_a_passing_fault_says_when_to_come_back(faulty: httpx.Client) -> None:
    answer = faulty.get("/busy")
    shape(answer, 503, "retry")
    assert int(answer.headers["retry-after"]) > 0


def test_our_own_error_keeps_its_words(faulty: httpx.Client) -> None:
    assert shape(faulty.get("/odd"), 500, "winnow_error")["detail"] == "something of ours"

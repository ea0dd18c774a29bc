"""Health, version, metrics and the dashboard's files; and that the README lists every road there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import RESOURCES, create_app
from curator.settings import Settings

DASHBOARD = Path(__file__).parents[3] / "api" / "dashboard"
README = Path(__file__).parents[3] / "api" / "README.md"


def test_health_needs_no_key(house: Any) -> None:
    assert house.nobody.get("/healthz/live").json() == {"status": "ok"}
    assert house.nobody.get("/healthz/ready").json() == {
        "status": "ok",
        "catalog": "ok",
        "runner": "elsewhere",
        "ray": "own",
    }
    assert house.nobody.get("/version").json()["name"] == "winnow"


def test_health_is_asked_by_head_too(house: Any) -> None:
    for path in ("/healthz/live", "/healthz/ready"):
        answer = house.nobody.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.fixture
def alone(tmp_path: Path, serve: Any) -> Iterator[tuple[httpx.Client, Any]]:
    """A server whose runner has stopped."""
    app = create_app(Settings(root=str(tmp_path)), runner_alive=lambda: False)
    for url in serve(app):
        with httpx.Client(base_url=url) as client:
            yield client, app.state.service


def test_without_a_runner_the_service_is_degraded_not_gone(alone: tuple[httpx.Client, Any]) -> None:
    answer = alone[0].get("/healthz/ready")
    assert (answer.status_code, answer.json()["status"], answer.json()["runner"]) == (200, "degraded", "stopped")


def test_without_a_catalog_it_is_not_ready(alone: tuple[httpx.Client, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        from curator.errors import TransportError

        raise TransportError("the catalog postgresql://secret-host does not answer")

    monkeypatch.setattr(alone[1].catalog.database, "clock", gone)
    answer = alone[0].get("/healthz/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "transport")
    assert "secret-host" not in answer.text


def test_metrics_count_by_route_and_name_no_id(house: Any, queued: dict[str, Any]) -> None:
    house.one.get(f"/v1/runs/{queued['id']}")
    told = house.operator().get("/metrics")
    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'winnow_http_requests_total{method="GET",route="/v1/runs/{run_id}",status="200"}' in told.text
    assert re.search(r'^winnow_runs\{state="queued"\} [1-9]', told.text, re.M)
    assert re.search(r'^winnow_stored_bytes\{kind="uploads"\} [1-9]', told.text, re.M)
    assert queued["id"] not in told.text
    for line in told.text.splitlines():
        labels_end = line.rfind("}")
        assert "_bucket{" not in line or 'le="' in line[:labels_end]
        assert line.startswith("#") or re.fullmatch(r"[a-z_]+(\{[^}]*(\{[a-z_]+\}[^}]*)*\})? [-+0-9.e]+", line), line


def test_every_metric_is_told_of(house: Any, queued: dict[str, Any]) -> None:
    house.one.get("/v1/runs")
    names = set(re.findall(r"^# TYPE (\S+) ", house.operator().get("/metrics").text, re.M))
    table = README.read_text().split("## Metrics")[1].split("\n## ")[0]
    assert names == set(re.findall(r"`((?:winnow|process)_[a-z_]+)`", table))


def test_a_histogram_adds_up(house: Any) -> None:
    for _ in range(3):
        house.nobody.get("/healthz/live")
    told = house.operator().get("/metrics").text
    at = 'route="/healthz/live"'
    name = "winnow_http_request_duration_seconds"
    buckets = [int(n) for n in re.findall(rf'^{name}_bucket{{{at},le="[^"]+"}} (\d+)$', told, re.M)]
    [count] = re.findall(rf"^{name}_count{{{at}}} (\d+)$", told, re.M)
    assert buckets == sorted(buckets) and buckets[-1] == int(count) >= 3


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.files: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.inline += [f"{tag} {name}" for name in named if name.startswith("on") or name == "style"]
        self.files += [
            str(named[name]) for name in ("src", "href") if name in named and tag in ("script", "link", "img")
        ]
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style") and data.strip():
            self.inline.append(data)


def test_the_page_has_nothing_inline_and_all_its_files_are_there(house: Any) -> None:
    page = Page()
    page.feed(house.nobody.get("/").text)
    assert not page.inline
    assert page.files
    for file in page.files:
        assert house.nobody.get(file).status_code == 200, file


def test_scripts_import_only_what_is_served(house: Any) -> None:
    scripts = sorted(DASHBOARD.glob("*.js"))
    assert scripts
    for script in scripts:
        answer = house.nobody.get(f"/dashboard/{script.name}")
        assert answer.headers["content-type"].startswith("text/javascript")
        for name in re.findall(r'from "\./([^"]+)"', answer.text):
            assert (DASHBOARD / name).exists(), (script.name, name)


def test_scripts_never_turn_text_into_markup() -> None:
    for script in DASHBOARD.glob("*.js"):
        text = script.read_text()
        for danger in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert danger not in text, (script.name, danger)


def test_the_page_is_revalidated_not_sent_again(house: Any) -> None:
    first = house.nobody.get("/")
    again = house.nobody.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["__init__.py", "..%2fapp.py", "nothing.css", "index.html%00"])
def test_only_the_dashboards_own_files_are_served(house: Any, name: str) -> None:
    assert house.nobody.get(f"/dashboard/{name}").status_code == 404


def test_the_readme_lists_every_road() -> None:
    found = [route for resource in RESOURCES for route in resource.routes.routes if isinstance(route, APIRoute)]
    real = {f"{method} {route.path}" for route in found for method in route.methods if method != "HEAD"}
    told = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]*)`", README.read_text()))
    assert told == real


def test_the_description_of_the_service_is_whole(house: Any) -> None:
    described = house.nobody.get("/openapi.json").json()["paths"]
    assert {"/v1/runs", "/v1/runs/{run_id}:cancel", "/v1/shards/{digest}"} <= set(described)


def test_metrics_count_all_tenants_so_they_are_the_operators(house: Any) -> None:
    for stranger in (house.one, house.two):
        refused = stranger.get("/metrics")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")

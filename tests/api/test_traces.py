"""One trace from a request to the manifest: a server and its runner as processes, and a collector that listens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from curator.errors import RequestError
from curator.settings import Settings
from pipelines.phases import ROAD
from tests.api.conftest import documents
from tests.collector import Collector, Seen

REPO = Path(__file__).parents[2]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET_WORDS = "zebra-crossing"
RECIPE = {"task": "text", "columns": {"text": "text"}, "process": [{"length": {"min_chars": 60}}, "exact_duplicates"]}
SERVE = "import sys; from api.serve import serve; from curator.settings import Settings; "
SERVE += "sys.exit(serve(Settings.from_environment()))"


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Seen], dict[str, Any], bytes]:
    """(all spans, the finished run, everything that was sent), of a server that served one run and one mistake."""
    folder = tmp_path_factory.mktemp("traced")
    rows = [{**row, "text": f"{SECRET_WORDS} {row['text']}"} for row in documents(60).to_pylist()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Collector() as collector:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WINNOW_", "OTEL_"))}
        own = {"WINNOW_ROOT": str(folder / "root"), "WINNOW_PORT": "0", "WINNOW_INPUT_ROOTS": str(folder)}
        own |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200", "WINNOW_POLL_S": "0.1"}
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE], cwd=REPO, env={**kept, **own}, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            run = served_run(url, str(folder / "rows.jsonl"))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            process.stdout.close()
        return collector.all(), run, b"".join(collector.bodies)


def served_run(url: str, uri: str) -> dict[str, Any]:
    with httpx.Client(base_url=url, timeout=30) as client:
        dataset = client.post("/v1/datasets", json={"uri": uri}).json()
        body = {"dataset": dataset["id"], "recipe": RECIPE}
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        run: dict[str, Any] = client.post("/v1/runs", json=body, headers=headers).json()
        deadline = time.monotonic() + 60
        while run["state"] not in ("succeeded", "failed"):
            assert time.monotonic() < deadline, run
            time.sleep(0.1)
            run = client.get(f"/v1/runs/{run['id']}").json()
        client.get(f"/v1/runs/{SECRET_WORDS}?{SECRET_WORDS}={SECRET_WORDS}", headers={"X-API-Key": SECRET_WORDS})
        client.post("/v1/recipes:validate", json={"recipe": {SECRET_WORDS: SECRET_WORDS}})
        return run


def test_one_trace_from_the_request_to_the_manifest(traced: tuple[list[Seen], dict[str, Any], bytes]) -> None:
    spans, run, _ = traced
    assert run["state"] == "succeeded", run["error"]
    mine = [span for span in spans if span.trace == TRACE]
    [asked] = [span for span in mine if span.name == "POST /v1/runs"]
    [worked] = [span for span in mine if span.name == "run"]
    assert (asked.parent, asked.service, asked.kind) == (CALLER, "winnow-server", 2)
    assert asked.attributes["http.route"] == "/v1/runs" and asked.attributes["http.response.status_code"] == 202
    assert asked.attributes["winnow.request_id"].startswith("req_")
    assert (worked.parent, worked.service, worked.kind) == (asked.id, "winnow-runner", 5)
    assert worked.attributes == {
        "winnow.run": run["id"],
        "winnow.attempt": 1,
        "winnow.engine": "inline",
        "winnow.manifest": run["summary"]["manifest"],
        "winnow.rows": 60,
        "winnow.kept": run["summary"]["kept"],
    }
    steps = [span.name for span in mine if span.parent == worked.id]
    assert steps == ["validate", *(step.name for step in ROAD)]
    assert len(mine) == 2 + len(steps) and not any(span.failed for span in mine)


def test_a_request_of_nobodys_trace_begins_one(traced: tuple[list[Seen], dict[str, Any], bytes]) -> None:
    spans, _, _ = traced
    own = [span for span in spans if span.name == "GET /v1/runs/{run_id}"]
    assert own and all(span.parent == "" and span.trace != TRACE for span in own)
    assert {span.attributes["http.response.status_code"] for span in own} >= {200}
    assert [span.failed for span in spans if span.name == "POST /v1/recipes:validate"] == [False], "the caller's fault"


def test_nobodys_words_are_in_it(traced: tuple[list[Seen], dict[str, Any], bytes]) -> None:
    _, run, sent = traced
    assert run["id"].encode() in sent and SECRET_WORDS.encode() not in sent
    assert b"rows.jsonl" not in sent and b"traceparent" not in sent


def test_a_server_that_cannot_send_them_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(RequestError, match=r"winnow-curation\[otel\]"):
        create_app(Settings(root=str(tmp_path), otlp_endpoint="http://127.0.0.1:4318"))
    assert list(tmp_path.iterdir()) == [], "nothing was opened"

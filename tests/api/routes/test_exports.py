"""Exports over REST: queued, written by a runner, downloaded whole or in part, cancelled."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import deque
from functools import partial
from typing import Any

import pyarrow.parquet as pq
import pytest

from curator.catalog import Scope
from pipelines.exporting import export_once


def written(house: Any) -> None:
    """A runner's turn; what other tests have queued is written too."""
    turn = partial(export_once, house.service.catalog, house.service.settings, "host/x/1/1/1", threading.Event())
    deque(iter(turn, False), maxlen=0)


@pytest.fixture
def manifest(finished: dict[str, Any]) -> str:
    return str(finished["summary"]["manifest"])


def test_an_export_from_its_request_to_its_files(house: Any, finished: dict[str, Any], manifest: str) -> None:
    made = house.one.post("/v1/exports", json={"manifest": manifest, "format": "parquet"})
    assert (made.status_code, made.headers["retry-after"]) == (202, "1")
    export = made.json()
    assert made.headers["location"] == f"/v1/exports/{export['id']}"
    assert (export["state"], export["files"], export["poll_after_ms"]) == ("queued", [], 1000)
    assert house.one.get(f"{made.headers['location']}/files/x").status_code == 409
    written(house)
    done = house.one.get(made.headers["location"])
    assert (done.json()["state"], done.json()["rows"]) == ("succeeded", finished["summary"]["kept"])
    assert done.json()["poll_after_ms"] is None
    again = house.one.get(made.headers["location"], headers={"If-None-Match": done.headers["etag"]})
    assert again.status_code == 304
    [file] = done.json()["files"]
    answer = house.one.get(file["url"])
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-disposition"] == f'attachment; filename="{file["name"]}"'
    assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (file["bytes"], file["sha256"])
    kept = house.one.get(f"/v1/runs/{finished['id']}/decisions?action=keep&limit=1000").json()["items"]
    assert pq.read_table(io.BytesIO(answer.content))["id"].to_pylist() == [row["id"] for row in kept]
    part = house.one.get(file["url"], headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"PAR1")
    assert house.one.head(file["url"]).headers["content-length"] == str(file["bytes"])
    assert house.one.get(file["url"], headers={"If-None-Match": f'"{file["sha256"]}"'}).status_code == 304
    assert house.one.get(f"{made.headers['location']}/files/other").status_code == 404
    assert house.one.get(f"{made.headers['location']}/files/..%2f..%2fwinnow.db").status_code == 404
    assert house.service.settings.root not in done.text


@pytest.mark.parametrize("form", ["mds", "webdataset", "jsonl"])
def test_every_format_is_written(house: Any, finished: dict[str, Any], manifest: str, form: str) -> None:
    made = house.one.post("/v1/exports", json={"manifest": manifest, "format": form}).json()
    written(house)
    done = house.one.get(f"/v1/exports/{made['id']}").json()
    assert (done["state"], done["rows"]) == ("succeeded", finished["summary"]["kept"]), done["error"]
    for file in done["files"]:
        assert hashlib.sha256(house.one.get(file["url"]).content).hexdigest() == file["sha256"]
    if form == "jsonl":
        lines = house.one.get(done["files"][0]["url"]).text.splitlines()
        assert len([json.loads(line) for line in lines]) == done["rows"]


def test_a_cancelled_export_is_not_written(house: Any, manifest: str) -> None:
    made = house.one.post("/v1/exports", json={"manifest": manifest, "format": "jsonl"}).json()
    cancel = f"/v1/exports/{made['id']}:cancel"
    assert house.one.post(cancel, headers={"If-Match": '"9"'}).status_code == 412
    stopped = house.one.post(cancel, headers={"If-Match": '"1"'})
    assert (stopped.status_code, stopped.json()["state"], stopped.json()["poll_after_ms"]) == (202, "cancelled", None)
    assert house.one.post(cancel).status_code == 409
    written(house)
    assert house.one.get(f"/v1/exports/{made['id']}").json()["files"] == []


def test_a_key_makes_one_export(house: Any, manifest: str) -> None:
    body, key = {"manifest": manifest, "format": "jsonl"}, {"Idempotency-Key": "export-once"}
    first, second = (house.one.post("/v1/exports", json=body, headers=key) for _ in range(2))
    assert first.json() == second.json()
    listed = house.one.get("/v1/exports?limit=1000").json()["items"]
    assert [item["id"] for item in listed].count(first.json()["id"]) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [({"format": "csv"}, 422), ({"manifest": "man_nobody"}, 404), ({"target": "s3://x"}, 422), ({"format": None}, 422)],
)
def test_exports_that_cannot_be(house: Any, manifest: str, change: dict[str, Any], status: int) -> None:
    answer = house.one.post("/v1/exports", json={"manifest": manifest, "format": "jsonl", **change})
    assert answer.status_code == status, answer.text


def test_readers_download_and_do_not_order(house: Any, manifest: str) -> None:
    reader = house.client([Scope.READ])
    assert reader.get("/v1/exports").status_code == 200
    assert reader.post("/v1/exports", json={"manifest": manifest, "format": "jsonl"}).status_code == 403

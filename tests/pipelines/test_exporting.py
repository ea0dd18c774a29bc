"""A runner writes exports, one at a time; cancelled, stopped and failed ones leave no file and a row that says so."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curator.catalog import Catalog, Export, JobState
from curator.catalog.shelf import shelve
from curator.errors import LeaseLostError, RetryableError, TransportError
from curator.settings import Settings
from curator.shards import Manifest, ShardWriter, write_index
from curator.storage import Store
from curator.tracing import tracing
from pipelines import exporting
from pipelines.exporting import export_once
from pipelines.runner import Runner
from tests.collector import Collector

ROWS = 9000
J = JobState


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path), lease_s=5.0, heartbeat_s=0.05, poll_s=0.01)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    with Catalog.open(settings.database_url) as opened:
        yield opened


@pytest.fixture
def manifest(catalog: Catalog, settings: Settings) -> str:
    """A manifest of 9,000 living rows under the root."""
    store = Store.open(settings.root)
    ids = np.random.default_rng(1).integers(0, 256, (ROWS, 16), np.uint8)
    schema = pa.schema([("n", pa.int64()), ("sample_id", pa.binary(16))])
    writer = ShardWriter(store, schema)
    named = pa.array([bytes(row) for row in ids], pa.binary(16))
    writer.write(pa.record_batch([pa.array(range(ROWS)), named], schema=schema))
    [shard] = writer.close()
    info = shard.with_index(*write_index(store, np.zeros(ROWS, np.uint8), np.ones(ROWS, bool), ids))
    made = Manifest.of(schema=schema, shards=[info])
    shelve(catalog.manifests, store, "local", made, run=None)
    return made.id


def once(catalog: Catalog, settings: Settings, shutdown: threading.Event | None = None) -> bool:
    return export_once(catalog, settings, "host/x/1/1/1", shutdown or threading.Event())


def files(settings: Settings) -> list[str]:
    return Store.open(settings.root).list("exports")


def test_a_runner_writes_what_is_queued(catalog: Catalog, settings: Settings, manifest: str) -> None:
    def nothing(*given: object) -> object:
        raise AssertionError("there is no run")

    runner = Runner(settings, catalog, nothing, None, export_once)  # type: ignore[arg-type]
    assert not runner.work_once()
    export = catalog.exports.create("local", manifest, "jsonl")
    assert runner.work_once() and not runner.work_once()
    done = catalog.exports.get("local", export.id)
    assert (done.state, done.progress is not None or done.result is not None) == (J.SUCCEEDED, True)
    assert done.result is not None and done.result["rows"] == ROWS
    [file] = done.result["files"]
    data = Store.open(settings.root).read_bytes(f"{done.result['folder']}/{file['name']}")
    assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert [json.loads(line)["n"] for line in data.splitlines()] == list(range(ROWS))
    runner.stop()
    catalog.exports.create("local", manifest, "jsonl")
    assert not runner.work_once()


def test_an_export_is_a_span_and_a_failed_one_says_so(
    catalog: Catalog, settings: Settings, manifest: str, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    catalog.manifests.record("local", "man_lost", path="m", shards=[])
    good, bad = (catalog.exports.create("local", name, "jsonl").id for name in (manifest, "man_lost"))
    with Collector() as collector:
        with tracing(Settings(otlp_endpoint=collector.url), "winnow-runner"):
            assert [once(catalog, settings) for _ in range(3)] == [True, True, False]
        seen = {span.attributes["winnow.id"]: span for span in collector.all()}
    assert {(span.name, span.kind) for span in seen.values()} == {("export", 5)}
    assert {export: span.failed for export, span in seen.items()} == {good: False, bad: True}
    assert seen[bad].attributes == {"winnow.id": bad, "winnow.attempt": 1, "error.type": "NotFoundError"}
    assert [line["export"] for line in log_lines()] == [good, good, bad, bad], "each says which it is about"


@pytest.mark.parametrize("form", ["parquet", "mds", "webdataset"])
def test_other_formats_are_written_too(catalog: Catalog, settings: Settings, manifest: str, form: str) -> None:
    export = catalog.exports.create("local", manifest, form)  # type: ignore[arg-type]
    assert once(catalog, settings)
    done = catalog.exports.get("local", export.id)
    assert done.result is not None, done.error
    names = [f"{done.result['folder']}/{file['name']}" for file in done.result["files"]]
    assert sorted(names) == files(settings)


def interrupted(
    monkeypatch: pytest.MonkeyPatch, catalog: Catalog, settings: Settings, manifest: str, act: Callable[[Export], None]
) -> Export:
    """The row of an export during whose writing something happened."""
    export, real = catalog.exports.create("local", manifest, "jsonl"), exporting.write_export

    def write(*given: object, on_rows: Callable[[int], None], **named: object) -> list[str]:
        def told(rows: int) -> None:
            act(export)
            on_rows(rows)

        return real(*given, on_rows=told, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_export", write)
        assert once(catalog, settings)
    return catalog.exports.get("local", export.id)


def test_a_cancelled_export_stops_and_leaves_nothing(
    catalog: Catalog, settings: Settings, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(export: Export) -> None:
        if catalog.exports.get("local", export.id).state == J.RUNNING:
            catalog.exports.cancel("local", export.id)

    assert interrupted(monkeypatch, catalog, settings, manifest, cancel).state == J.CANCELLED
    assert files(settings) == []


def test_a_stopped_runner_gives_its_export_back(catalog: Catalog, settings: Settings, manifest: str) -> None:
    export, shutdown = catalog.exports.create("local", manifest, "jsonl"), threading.Event()
    shutdown.set()
    assert once(catalog, settings, shutdown)
    queued = catalog.exports.get("local", export.id)
    assert (queued.state, queued.attempt, files(settings)) == (J.QUEUED, 1, [])
    assert once(catalog, settings)
    assert catalog.exports.get("local", export.id).state == J.SUCCEEDED


def test_a_passing_fault_is_tried_again_and_then_failed(
    catalog: Catalog, settings: Settings, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(export: Export) -> None:
        raise TransportError("the store does not answer")

    assert issubclass(TransportError, RetryableError)
    settings = settings.model_copy(update={"lease_s": 0.4, "max_attempts": 2})
    first = interrupted(monkeypatch, catalog, settings, manifest, away)
    assert (first.state, first.attempt) == (J.QUEUED, 2)
    catalog.exports.cancel("local", first.id)
    settings = settings.model_copy(update={"max_attempts": 1})
    failed = interrupted(monkeypatch, catalog, settings, manifest, away)
    assert failed.state == J.FAILED and failed.error == {"code": "transport", "message": "the store does not answer"}
    assert files(settings) == []


def test_what_cannot_be_exported_fails_with_its_reason(catalog: Catalog, settings: Settings) -> None:
    catalog.manifests.record("local", "man_nothing", path="m", shards=[])  # its file is lost
    export = catalog.exports.create("local", "man_nothing", "jsonl")
    assert once(catalog, settings)
    failed = catalog.exports.get("local", export.id)
    assert failed.state == J.FAILED and failed.error is not None
    assert failed.error["code"] == "not_found"


def test_a_lost_writer_disturbs_nobody(
    catalog: Catalog, settings: Settings, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one writes, its lease is taken away and another one writes it to the end."""
    heirs: list[bool] = []

    def lose(export: Export) -> None:
        if not heirs:
            heirs.append(True)
            catalog.exports.reap(9, is_dead=lambda owner: True)
            heir = catalog.exports.claim("heir", 60.0)
            assert heir is not None and heir.fence == 3
            catalog.exports.finish(heir, {"folder": "exports/heir", "rows": 1, "files": []})

    done = interrupted(monkeypatch, catalog, settings, manifest, lose)
    assert done.state == J.SUCCEEDED and done.result == {"folder": "exports/heir", "rows": 1, "files": []}
    assert files(settings) == []
    with pytest.raises(LeaseLostError):
        stale = catalog.exports.create("local", manifest, "jsonl")
        claimed = catalog.exports.claim("me", 60.0)
        assert claimed is not None and claimed.id == stale.id
        catalog.exports.cancel("local", stale.id)
        exporting.ExportLease(catalog.exports, claimed, 60.0, threading.Event()).heartbeat()

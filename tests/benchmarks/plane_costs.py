"""What parts of the control plane cost: a dry run by rows and recipe, a span on and off, a fetch over loopback.

python tests/benchmarks/plane_costs.py
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from api.allowances import Allowances
from api.fetching import Fetcher
from api.inspection import inspected
from api.rehearsal import Rehearsals
from api.upload_files import UploadFiles
from curator.catalog import LOCAL_TENANT, Catalog, DatasetVersion
from curator.recipe import load
from curator.settings import Settings
from curator.storage import Store
from curator.tracing import span, tracing
from tests.api.conftest import sentence
from tests.collector import Collector

ROWS = 10_000
REPEATS = 2


def dry_runs(folder: Path) -> None:
    """Seconds of a dry run of the presets, process and all: the better of two."""
    path = folder / "rows.jsonl"
    lines = ({"id": n, "text": f"Document {n}. {sentence(n, 120)}", "label": n % 4} for n in range(ROWS))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {"dataset": "ds_1", "number": 1, "state": "ready", "inputs": (str(path),), "error": None}
    version = DatasetVersion(**about, **inspected([str(path)]), created_at="2026-01-01T00:00:00Z")
    trials = Rehearsals(Settings(dry_run_s=600))
    for name in ("text", "fineweb", "classification"):
        for rows in (100, 1000, ROWS):
            work = partial(trials.tried, LOCAL_TENANT, version, load(name), rows)
            print(f"dry run of {name}, {rows} rows: {min(timeit.repeat(work, number=1, repeat=REPEATS)):.2f} s")


def spans() -> None:
    """Time of a request's span, with its attributes."""

    def one() -> None:
        with span("request", {"http.request.method": "GET"}, kind="server") as seen:
            seen.tell({"http.route": "/v1/runs/{run_id}", "http.response.status_code": 200}, name="GET /v1/runs")

    print(f"a span, off: {min(timeit.repeat(one, number=100_000, repeat=REPEATS)) * 10:.2f} µs")
    with Collector() as collector, tracing(Settings(otlp_endpoint=collector.url), "winnow-bench"):
        print(f"a span, on: {min(timeit.repeat(one, number=1000, repeat=REPEATS)) * 1000:.1f} µs")


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """The folder's address on loopback."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    SimpleHTTPRequestHandler.log_message = lambda *args: None  # type: ignore[assignment,method-assign]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def fetches(folder: Path, megabytes: int = 256) -> None:
    """MB a second from a web server on loopback into an upload, hashed and synced."""
    (folder / "big.jsonl").write_bytes(b'{"text": "a row of some text"}\n' * (megabytes * 2**20 // 31))
    with web(folder) as url:
        settings = Settings(root=str(folder / "root"), input_roots=(url,))
        with Catalog.open(settings.database_url) as catalog:
            uploads = UploadFiles(catalog, Store.open(settings.root), settings, Allowances(catalog, settings))
            fetcher = Fetcher(catalog, uploads, settings)
            _, version = catalog.datasets.create(LOCAL_TENANT, "big", "text", {}, [f"{url}big.jsonl"])
            started = time.monotonic()
            fetcher.fetched(LOCAL_TENANT, version)
            print(f"a fetch of {megabytes} MiB: {megabytes / (time.monotonic() - started):.0f} MiB/s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        spans()
        fetches(Path(place))
        dry_runs(Path(place))

"""An epoch read by three processes of which one is killed: every position is acknowledged, none is skipped."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import create_app
from curator.catalog import LOCAL_TENANT
from curator.catalog.shelf import shelve
from curator.client.rest import Client
from curator.settings import Settings
from tests.api.conftest import serve_app
from tests.curator.shards.dataset import write_dataset

BATCH = 10
CONSUMER = """
import sys, time
from curator import Client, LeasedStream
url, plan, name, pause = sys.argv[1:5]
stream = LeasedStream(
    Client(url), plan, 0, consumer=name, positions=40, lease_s=1.0, columns=["number"], cache_dir=sys.argv[5]
)
for batch in stream:
    print(int(batch.schema.metadata[b"winnow.position"]), *batch["number"].to_pylist(), flush=True)
    time.sleep(float(pause))
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    app = create_app(Settings(root=str(tmp_path / "root")))
    service = app.state.service
    manifest = write_dataset(service.store, kept=1500).manifest
    shelve(service.catalog.manifests, service.store, LOCAL_TENANT, manifest, run=None)
    for url in serve_app(app):
        with Client(url) as made:
            made.plans.create(manifest.id, global_batch_size=BATCH, curriculum="constant", num_epochs=1)
            yield made


def test_a_consumer_killed_midway_loses_nothing(client: Client, tmp_path: Path) -> None:
    [plan] = client.plans.list()
    length = client.plans.epoch(plan["id"], 0)["num_positions"]
    command = [sys.executable, "-c", CONSUMER, client.base_url, plan["id"]]
    cache = str(tmp_path / "cache")
    started = {
        name: subprocess.Popen([*command, name, pause, cache], stdout=subprocess.PIPE, text=True)
        for name, pause in (("victim", "0.2"), ("one", "0.005"), ("two", "0.005"))
    }
    victim = started["victim"]
    assert victim.stdout is not None
    first = [victim.stdout.readline() for _ in range(2)]
    victim.send_signal(signal.SIGKILL)
    lines = {name: process.communicate(timeout=90)[0].splitlines() for name, process in started.items()}
    assert victim.returncode == -9 and [started[name].returncode for name in ("one", "two")] == [0, 0]

    standing = client.plans.reading(plan["id"], 0)
    assert standing["done"] and standing["positions_acked"] == length and standing["repeated"] >= 1
    lines["victim"] = first + lines["victim"]
    given = {name: [[int(word) for word in line.split()] for line in told] for name, told in lines.items()}
    survivors = [row for name in ("one", "two") for row in given[name]]
    positions = [row[0] for row in survivors]
    assert len(positions) == len(set(positions)), "neither of those who lived read anything twice"
    assert {*positions, *(row[0] for row in given["victim"])} == set(range(BATCH, length + 1, BATCH))
    rows = [number for row in survivors for number in row[1:]]
    assert len(rows) == len(set(rows))

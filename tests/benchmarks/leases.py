"""An epoch under leases over loopback HTTP, beside the same epoch striped by ranks: rows a second, and a lease's cost.

    python tests/benchmarks/leases.py [--rows 200000] [--consumers 1,2,4]

One server process on SQLite, consumers in processes of their own, a warm cache for both; texts of about 500 bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa

from curator.catalog import LOCAL_TENANT, Catalog
from curator.catalog.shelf import shelve
from curator.client.rest import Client
from curator.settings import Settings
from curator.shards import Manifest, ShardWriter, write_index
from curator.storage import Store

BATCH = 64
LEASED = """
import sys
from curator import Client, LeasedStream
url, plan, group, cache = sys.argv[1:5]
rows = sum(batch.num_rows for batch in LeasedStream(Client(url), plan, 0, group=group, cache_dir=cache))
print(rows)
"""
STRIPED = """
import sys
from curator import Client, ShardStream
url, manifest, rank, world, cache = sys.argv[1:6]
stream = ShardStream(Client(url), manifest, curriculum="constant", num_epochs=1, global_batch_size=64, rank=int(rank),
                     world_size=int(world), cache_dir=cache)
print(sum(batch.num_rows for batch in stream))
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--consumers", default="1,2,4")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "root", str(Path(folder) / "cache")
        manifest = written(Store.open(root), asked.rows)
        settings = Settings(root=str(root))
        with Catalog.open(settings.database_url) as catalog:
            shelve(catalog.manifests, Store.open(root), LOCAL_TENANT, manifest, run=None)
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "api.app:app", "--port", "8791", "--log-level", "error"],
            env={**os.environ, "WINNOW_ROOT": str(root)},
        )
        try:
            told("http://127.0.0.1:8791", manifest.id, cache, [int(n) for n in asked.consumers.split(",")])
        finally:
            server.terminate()
            server.wait()


def told(url: str, manifest: str, cache: str, counts: list[int]) -> None:
    until_ready(url)
    with Client(url) as client:
        plan = client.plans.create(manifest, curriculum="constant", num_epochs=1, global_batch_size=BATCH)["id"]
        timed([[LEASED, url, plan, "warm", cache]])
        for count in counts:
            leased = timed([[LEASED, url, plan, f"of{count}", cache]] * count)
            striped = timed([[STRIPED, url, manifest, str(rank), str(count), cache] for rank in range(count)])
            print(f"{count} consumers: leased {leased:,.0f} rows/s, striped {striped:,.0f} rows/s")
        one = client.plans.create(manifest, curriculum="constant", num_epochs=1, global_batch_size=BATCH, seed=1)["id"]
        begin, leases = time.perf_counter(), 0
        while (
            lease := client.plans.lease(one, 0, group="bare", positions=BATCH)["lease"]
        ) is not None and leases < 500:
            client.plans.ack(one, 0, lease, group="bare")
            leases += 1
        each = (time.perf_counter() - begin) / leases
        print(f"a lease and its acknowledgement: {1000 * each:.1f} ms, one after the other")
        begin, leases, done = time.perf_counter(), 0, []
        while (
            lease := client.plans.lease(one, 0, group="together", positions=BATCH, done=done)["lease"]
        ) is not None and leases < 500:
            done, leases = [lease], leases + 1
        each = (time.perf_counter() - begin) / leases
        print(f"a lease that acknowledges the one before: {1000 * each:.1f} ms, one after the other")


def timed(commands: list[list[str]]) -> float:
    """Rows a second of some processes together, their start not counted twice."""
    begin = time.perf_counter()
    started = [
        subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE, text=True) for command in commands
    ]
    rows = sum(int(process.communicate()[0]) for process in started)
    return rows / (time.perf_counter() - begin)


def written(store: Store, rows: int) -> Manifest:
    random = np.random.default_rng(0)
    schema = pa.schema([("text", pa.string()), ("sample_id", pa.binary(16))])
    writer = ShardWriter(store, schema)
    ids = random.integers(0, 256, (rows, 16), np.uint8)
    words = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
    for start in range(0, rows, 4096):
        part = ids[start : start + 4096]
        texts = [" ".join(words[random.integers(0, 8, 90)]) for _ in part]
        writer.write(
            pa.record_batch([pa.array(texts), pa.array([bytes(i) for i in part], pa.binary(16))], schema=schema)
        )
    done, begin = [], 0
    for info in writer.close():
        part = ids[begin : begin + info.rows]
        codes = (np.arange(info.rows) % 3).astype(np.uint8)
        done.append(info.with_index(*write_index(store, codes, np.ones(info.rows, bool), part)))
        begin += info.rows
    manifest = Manifest.of(schema, done, recipe_digest="d", dataset_version="v")
    manifest.save(store)
    return manifest


def until_ready(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{url}/healthz/live").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()

"""Shards over loopback HTTP: what the client's source gets beside what plain curl gets from the same server.

Knows the server's command line and routes; nothing of loaders.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curator.catalog import LOCAL_TENANT, Catalog
from curator.catalog.shelf import shelve
from curator.client.sources import HttpSource
from curator.settings import Settings
from curator.shards.manifest import Manifest
from curator.storage import Store

__all__ = ["report"]

REPEATS = 5
WANTED = 0.8


def report(folder: Path) -> None:
    """Prints MB/s of both, and their ratio; curl writes to a file too, and alone: it checks no digest."""
    if shutil.which("curl") is None:
        print("no curl here: the HTTP comparison is passed over")
        return
    root = folder / "winnow"
    store = Store.open(root)
    manifest = Manifest.load(store, (root / "manifest").read_text())
    shelf = Settings.from_environment(root=str(root))
    catalog = Catalog.open(shelf.database_url)
    shelve(catalog.manifests, store, LOCAL_TENANT, manifest, run=None)
    catalog.close()
    digests = [info.digest for info in manifest.shards]
    num_bytes = sum(info.bytes for info in manifest.shards)
    with _server(root) as url:
        ours, theirs, plain = [], [], []
        for _ in range(REPEATS):  # interleaved, so that both meet the same neighbours
            theirs.append(num_bytes / _curl(url, digests, folder / "curl.out") / 1e6)
            ours.append(num_bytes / _source(url, digests, folder / "http-cache") / 1e6)
            plain.append(num_bytes / _curl(url, digests, Path(os.devnull)) / 1e6)
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    print(
        f"\nover loopback HTTP, {num_bytes / 1e6:.0f} MB in {len(digests)} shards, medians of {REPEATS}: HttpSource "
        f"{statistics.median(ours):,.0f} MB/s (digest checked, synced to disk), curl to a file "
        f"{statistics.median(theirs):,.0f}, curl to nowhere {statistics.median(plain):,.0f}; ratio to curl to a file "
        f"{statistics.median(pairs):.2f} (wanted {WANTED})"
    )


def _curl(url: str, digests: list[str], out: Path) -> float:
    """Seconds of one curl that fetches all shards over one connection."""
    command = ["curl", "--silent", "--fail"]
    for digest in digests:
        command += ["-o", str(out), f"{url}/v1/shards/{digest}"]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def _source(url: str, digests: list[str], cache: Path) -> float:
    """Seconds of fetching all shards into an empty cache."""
    shutil.rmtree(cache, ignore_errors=True)
    source = HttpSource(url, cache_dir=cache)
    began = time.perf_counter()
    for digest in digests:
        source.shard(digest)
    took = time.perf_counter() - began
    shutil.rmtree(cache, ignore_errors=True)
    return took


@contextmanager
def _server(root: Path) -> Iterator[str]:
    """`winnow serve` on a free port, until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "api.cli", "serve", "--root", str(root), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/healthz/live", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(60)

"""Shards over loopback HTTP: what the client's source gets beside plain curl, and the server's route beside nginx.

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

__all__ = ["report", "served", "shelved"]

REPEATS = 5
WANTED = 0.8
WANTED_OF_NGINX = 0.3


def report(folder: Path) -> None:
    """Prints MB/s of both, and their ratio; curl writes to a file too, and alone: it checks no digest."""
    if shutil.which("curl") is None:
        print("no curl here: the HTTP comparison is passed over")
        return
    root = folder / "winnow"
    manifest = Manifest.load(Store.open(root), (root / "manifest").read_text())
    shelved(root, manifest)
    digests = [info.digest for info in manifest.shards]
    num_bytes = sum(info.bytes for info in manifest.shards)
    ours, theirs, plain, nginx = [], [], [], []
    with served(root) as (url, _), _nginx(root / "shards", folder / "nginx") as static:
        routes = [f"{url}/v1/shards/{digest}" for digest in digests]
        files = [f"{static}/{digest[:2]}/{digest}.arrow" for digest in digests]
        for _ in range(REPEATS):  # interleaved, so that all meet the same neighbours
            theirs.append(num_bytes / _curl(routes, folder / "curl.out") / 1e6)
            ours.append(num_bytes / _source(url, digests, folder / "http-cache") / 1e6)
            plain.append(num_bytes / _curl(routes, Path(os.devnull)) / 1e6)
            if static:
                nginx.append(num_bytes / _curl(files, Path(os.devnull)) / 1e6)
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    print(
        f"\nover loopback HTTP, {num_bytes / 1e6:.0f} MB in {len(digests)} shards, medians of {REPEATS}: HttpSource "
        f"{statistics.median(ours):,.0f} MB/s (digest checked, synced to disk), curl to a file "
        f"{statistics.median(theirs):,.0f}, curl to nowhere {statistics.median(plain):,.0f}; ratio to curl to a file "
        f"{statistics.median(pairs):.2f} (wanted {WANTED})"
    )
    if nginx:
        share = statistics.median(mine / other for mine, other in zip(plain, nginx, strict=True))
        print(
            f"curl to nowhere from nginx serving the same files: {statistics.median(nginx):,.0f} MB/s; the server's "
            f"route gets {share:.2f} of it (wanted {WANTED_OF_NGINX})"
        )


def shelved(root: Path, manifest: Manifest) -> None:
    """Makes a manifest under a root known to the server that serves the root."""
    catalog = Catalog.open(Settings.from_environment(root=str(root)).database_url)
    shelve(catalog.manifests, Store.open(root), LOCAL_TENANT, manifest, run=None)
    catalog.close()


def _curl(urls: list[str], out: Path) -> float:
    """Seconds of one curl that fetches all files over one connection."""
    command = ["curl", "--silent", "--fail"]
    for url in urls:
        command += ["-o", str(out), url]
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


NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {files}; }} }}
"""


@contextmanager
def _nginx(files: Path, folder: Path) -> Iterator[str]:
    """The address of an nginx that serves a folder of files; empty, with a word, where there is none."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        print("no nginx here (Debian's package nginx-light has it): that comparison is passed over")
        yield ""
        return
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # as whoever wrote the files
    (folder / "conf").write_text(NGINX.format(user=user, folder=folder, port=port, files=files.resolve()))
    running = subprocess.Popen([program, "-c", str(folder / "conf"), "-e", str(folder / "error.log")])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def served(root: Path) -> Iterator[tuple[str, int]]:
    """`winnow serve` on a free port, from when it answers: its address and its process."""
    port = _free_port()
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
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(60)

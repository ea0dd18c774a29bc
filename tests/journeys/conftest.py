"""A real service for stories: `winnow serve` on a fresh root, its runner included, and a client for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from curator.client.rest import Client
from tests.pipelines.conftest import labelled

__all__ = ["Served", "labelled", "served"]


class Served(NamedTuple):
    url: str
    root: Path
    client: Client


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    command = [sys.executable, "-m", "api.cli", "serve", "--root", str(root), "--port", str(port)]
    with (root / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _until_ready(url, process, root)
        with Client(url) as client:
            yield Served(url, root, client)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _until_ready(url: str, process: subprocess.Popen[bytes], root: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, (root / "service.log").read_text()
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz/ready", timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError((root / "service.log").read_text())

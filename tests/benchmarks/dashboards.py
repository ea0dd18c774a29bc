"""Dashboards polling while a run is written: what the API answers, how late, on one core with the load itself.

    python tests/benchmarks/dashboards.py [--dashboards 1000] [--every 2] [--streams 500] [--seconds 60] [--live 0.04]

Each dashboard asks as the page of a run does, for the run and its metrics with the ETags it has, every `--every`
seconds; `--live` of them watch the run that is being written, the others runs that have ended. Streams listen to the
run being written. The API and this load share core 0, the runner has core 1. A request's time counts from when it was
due, whatever was in its way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from curator.catalog import LOCAL_TENANT, Catalog, Scope
from curator.recipe import load
from curator.run import RunRequest, RunState, RunSummary
from curator.settings import Settings
from tests.benchmarks.kill_soak import free_port

HERE: Final = Path(__file__).parents[2]
ENDED_RUNS: Final = 100
PEOPLE: Final = 100
"""API keys; each person has several dashboards open."""


@dataclass
class Tally:
    """Seconds and statuses of what was asked, lags of what was told."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)
    received: int = 0


class Dashboard(asyncio.Protocol):
    """One keep-alive connection that asks for its paths in turn and remembers their ETags."""

    def __init__(self, paths: list[str], head: str, tally: Tally):
        self.paths, self.head, self.tally = paths, head, tally
        self.tags: dict[str, str] = {}
        self.buffer = b""
        self.queue: list[tuple[str, float]] = []
        self.warm = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def look(self, due: float) -> None:
        """Asks for every path, one after the other. due: on the loop's clock."""
        self.queue += [(path, due) for path in self.paths]
        if len(self.queue) == len(self.paths):
            self._ask()

    def _ask(self) -> None:
        path, _ = self.queue[0]
        known = f"If-None-Match: {self.tags[path]}\r\n" if path in self.tags else ""
        self.transport.write(f"GET {path} HTTP/1.1\r\n{self.head}{known}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        status = int(head[9:12])
        size = 0 if status == 304 else int(_field(head, b"content-length"))
        if len(self.buffer) < end + 4 + size:
            return
        self.tally.received += len(self.buffer)
        self.buffer = self.buffer[end + 4 + size :]
        path, due = self.queue.pop(0)
        self.tags[path] = _field(head, b"etag").decode()
        if self.warm:
            self.tally.statuses[status] += 1
            self.tally.seconds.append(asyncio.get_running_loop().time() - due)
        if self.queue:
            self._ask()


class Listener(asyncio.Protocol):
    """One event stream: how late what happened was told."""

    def __init__(self, path: str, head: str, tally: Tally):
        self.path, self.head, self.tally, self.buffer, self.last = path, head, tally, b"", ""

    def connection_made(self, transport: Any) -> None:
        transport.write(f"GET {self.path} HTTP/1.1\r\n{self.head}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.buffer += data
        *whole, self.buffer = self.buffer.split(b"\n\n")
        for event in whole:
            for line in event.split(b"\n"):
                if line.startswith(b"id: "):
                    self.last = line[4:].decode()
                elif line.startswith(b"data: "):
                    at = json.loads(line[6:])["at"].replace("Z", "+00:00")
                    self.tally.lags.append(now - datetime.fromisoformat(at).timestamp())


def _field(head: bytes, name: bytes) -> bytes:
    start = head.index(b"\r\n" + name + b":") + len(name) + 3
    return head[start : head.find(b"\r\n", start) if b"\r\n" in head[start:] else len(head)].strip()


async def load_up(options: argparse.Namespace, port: int, live: str, ended: list[str], secrets: list[str]) -> Tally:
    tally, rng, loop = Tally(), random.Random(0), asyncio.get_running_loop()
    heads = [f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {secret}\r\n" for secret in secrets]
    boards: list[Dashboard] = []
    for number in range(options.dashboards):
        run = live if number < options.live * options.dashboards else rng.choice(ended)
        paths = [f"/v1/runs/{run}", f"/v1/runs/{run}/metrics"] + (["/v1/runs?limit=50"] if options.list else [])
        made = partial(Dashboard, paths, heads[number % len(heads)], tally)
        _, board = await loop.create_connection(made, "127.0.0.1", port)
        boards.append(board)
    for number in range(options.streams):
        made = partial(Listener, f"/v1/runs/{live}/events", heads[number % len(heads)], tally)
        await loop.create_connection(made, "127.0.0.1", port)
        await asyncio.sleep(0.002)
    await asyncio.sleep(2)
    tally.lags.clear()  # what was replayed is no news
    begin = loop.time() + 0.5
    await asyncio.gather(*(_poll(board, begin + rng.random() * options.every, options) for board in boards))
    return tally


async def _poll(board: Dashboard, due: float, options: argparse.Namespace) -> None:
    """The first look fills the ETags and is not counted."""
    loop, end = asyncio.get_running_loop(), due + options.every + options.seconds
    while due < end:
        await asyncio.sleep(max(0.0, due - loop.time()))
        board.look(due)
        due += options.every
        if not board.warm:
            await asyncio.sleep(max(0.0, due - loop.time()))
            board.warm = True


def write_texts(path: Path, megabytes: int) -> None:
    """Texts of 250 words each."""
    rng = np.random.default_rng(1)
    words = np.array([f"w{number}x" + "ab" * (number % 4) for number in range(5000)])
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for _ in range(max(1, megabytes // 8)):
            chosen = words[rng.zipf(1.3, (4400, 250)) % 5000]
            writer.write_table(pa.table({"text": [" ".join(row) + "." for row in chosen]}))


def prepared(root: Path, megabytes: int) -> tuple[str, list[str], list[str]]:
    """(the run to be written, runs that have ended, API keys), on a fresh root."""
    write_texts(root / "texts.parquet", megabytes)
    recipe = {**load("text").model_dump(mode="json"), "unit_rows": 2048}
    request = RunRequest(inputs=(str(root / "texts.parquet"),), recipe=recipe)
    with Catalog.open(Settings(root=str(root)).database_url) as catalog:
        ended = [_ended(catalog, request) for _ in range(ENDED_RUNS)]
        keys = [catalog.keys.create(LOCAL_TENANT, f"person {number}", [Scope.READ])[1] for number in range(PEOPLE)]
        return catalog.runs.create(LOCAL_TENANT, request).id, ended, keys


def _ended(catalog: Catalog, request: RunRequest) -> str:
    """A run that has succeeded, as far as its row tells."""
    claimed = catalog.runs.create_claimed(LOCAL_TENANT, request, "nobody", 60.0)
    summary = RunSummary(
        run=claimed.id, manifest="man_1", ledger="l", rows_in=9, kept=9, dropped=0, relabeled=0, reasons={},
        difficulty={}, policy="rules", seconds=1.0, seconds_by_phase={}, peak_rss_bytes=1,
    )  # fmt: skip
    for before, after in ((RunState.VALIDATING, RunState.RUNNING), (RunState.RUNNING, RunState.FINALIZING)):
        catalog.runs.move(claimed, {before}, after)
    catalog.runs.move(claimed, {RunState.FINALIZING}, RunState.SUCCEEDED, summary=summary)
    return claimed.id


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dashboards", type=int, default=1000)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks of a dashboard")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--live", type=float, default=0.04, help="share of dashboards on the run being written")
    parser.add_argument("--list", action="store_true", help="each dashboard asks for the list of runs, too")
    parser.add_argument("--megabytes", type=int, default=400)
    options = parser.parse_args()
    root, port = Path(tempfile.mkdtemp(prefix="winnow-dashboards-")), free_port()
    live, ended, secrets = prepared(root, options.megabytes)
    environment = {**os.environ, "WINNOW_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    serving = [sys.executable, "-m", "uvicorn", "api.app:app", "--port", str(port), "--no-access-log", "--log-level",
               "warning", "--timeout-keep-alive", "75", "--backlog", "4096"]  # fmt: skip
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    api = subprocess.Popen(serving, cwd=HERE, env=environment)
    runner = subprocess.Popen(
        ["taskset", "-c", str(cores[-1]), sys.executable, "-m", "pipelines.runner", "--root", str(root)],
        cwd=HERE, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": secrets[0]})
        _until(lambda: client.get("/healthz/ready").status_code == 200)
        _until(lambda: client.get(f"/v1/runs/{live}").json()["state"] == "running")
        used = _cpu_s(api.pid)
        own = time.process_time()
        tally = asyncio.run(load_up(options, port, live, ended, secrets))
        state = client.get(f"/v1/runs/{live}").json()
        print(_told(options, tally, _cpu_s(api.pid) - used, time.process_time() - own, state))
    finally:
        for process in (api, runner):
            process.terminate()
            process.wait(60)
    return 0


def _told(options: argparse.Namespace, tally: Tally, api_s: float, load_s: float, state: dict[str, Any]) -> str:
    milliseconds = 1000 * np.array(tally.seconds)
    low, middle, high = np.percentile(milliseconds, [50, 99, 99.9])
    count = len(milliseconds)
    lines = [
        f"{options.dashboards} dashboards every {options.every:g} s, {options.live:.0%} on the run being written"
        f"{', with the list' if options.list else ''}; {options.streams} event streams; {options.seconds:g} s",
        f"{count} answers ({count / options.seconds:.0f} a second): {tally.statuses[304] / count:.1%} were 304, "
        f"others {dict(tally.statuses)}; {tally.received / 2**20:.0f} MiB",
        f"p50 {low:.1f} ms, p99 {middle:.1f} ms, p99.9 {high:.1f} ms, longest {milliseconds.max():.1f} ms",
        f"CPU: API {api_s:.1f} s, load {load_s:.1f} s; the run is {state['state']} ({state['progress']['phase']})",
    ]
    if tally.lags:
        lags = 1000 * np.array(tally.lags)
        lines.append(
            f"events: {len(lags)} told, p50 {np.median(lags):.0f} ms after, p99 {np.percentile(lags, 99):.0f} ms"
        )
    return "\n".join(lines)


def _until(happened: Any) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if happened():
                return
        time.sleep(0.1)
    raise RuntimeError("it did not happen within two minutes")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())

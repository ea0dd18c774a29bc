"""A served house under siege: its processes found and killed, its runs submitted, watched and checked.

Knows the service from outside (REST, process table) and a run's files; who is killed when is the caller's affair.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from curator.ledger import Ledger
from curator.storage import Store
from pipelines.phases import ROAD

__all__ = ["KINDS", "Siege", "stopped"]

HERE: Final = Path(__file__).parents[2]
LABELLED: Final = 3000
RECIPE: Final = {
    "task": "text",
    "columns": {"id": "id", "text": "text"},
    "process": [{"length": {"min_chars": 20}}, "exact_duplicates", "near_duplicates"],
    "unit_rows": 256,
}
LEARNED: Final = {
    "task": "classification",
    "columns": {"id": "id", "text": "text", "label": "label"},
    "process": ["exact_duplicates"],
    "policy": {"kind": "learned", "max_false_drop": 0.1},
    "unit_rows": 128,
}
KINDS: Final = {"text": ("inline", RECIPE), "ray": ("ray", RECIPE), "learned": ("inline", LEARNED)}
"""Runs by name: where they run, and the recipe. `text` and `ray` must end with one manifest."""
_ACTIVE: Final = ("validating", "running", "finalizing")


class Siege:
    """`winnow serve` on `folder/root` as a child process, begun again whenever it is found dead. `texts`: rows of the
    runs without labels; the more, the longer their phases last."""

    def __init__(self, folder: Path, port: int, texts: int = 3000, **environment: str):
        self.texts = texts
        self.folder, self.root, self.url = folder, folder / "root", f"http://127.0.0.1:{port}"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("WINNOW_", "RAY_"))}
        self._environment = {**own, "WINNOW_POLL_S": "0.2", "OMP_NUM_THREADS": "1", **environment}
        self._command = [sys.executable, "-m", "api.cli", "serve", "--root", str(self.root), "--port", str(port)]
        self._api: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=self.url, timeout=30)
        self.restarts_s: list[float] = []
        self.left: list[str] = []

    # --- the service ---

    def keep_served(self) -> None:
        """Starts the service where it is not running, and notes the seconds until it accepts requests."""
        if self._api is not None and self._api.poll() is None:
            return
        started = time.monotonic()
        with (self.folder / "service.log").open("ab") as log:
            self._api = subprocess.Popen(
                self._command, cwd=HERE, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        while time.monotonic() - started < 120:
            if self._api.poll() is not None:
                raise RuntimeError(f"the service ended at its start; see {self.folder / 'service.log'}")
            with suppress(httpx.TransportError):
                if self._http.get("/healthz/ready").status_code == 200:
                    self.restarts_s.append(time.monotonic() - started)
                    return
            time.sleep(0.01)
        raise RuntimeError("the service did not accept requests within two minutes")

    def close(self) -> None:
        """Ends the service gracefully; what is left of it after half a minute is killed, and noted in `left`."""
        if self._api is not None and self._api.poll() is None:
            self._api.terminate()
            self._api.wait(90)
        self._http.close()
        deadline = time.monotonic() + 30
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.left = list(left.values())

    def _left(self) -> dict[int, str]:
        table = _processes()
        return {pid: table[pid][0] for pid in self._runners(table)}

    # --- its processes ---

    def pids(self, target: str) -> list[int]:
        """Who can be killed as `api`, `runner`, `worker` (of Ray) or `head` (of Ray) right now."""
        table = _processes()
        if target == "api":
            return [self._api.pid] if self._api is not None and self._api.poll() is None else []
        runners = self._runners(table)
        if target == "runner":
            return runners
        words = ("ray::_Worker",) if target == "worker" else ("gcs_server", "raylet")
        return [
            pid
            for pid, (command, _) in table.items()
            if os.path.basename(command.split("\0")[0].split(" ")[0]).startswith(words) and _below(pid, runners, table)
        ]

    def _runners(self, table: dict[int, tuple[str, int]]) -> list[int]:
        words = f"pipelines.runner\0--root\0{self.root}\0"
        return [pid for pid, (command, _) in table.items() if words in command]

    # --- its runs ---

    def prepare(self) -> None:
        """Registers the data, once."""
        write_inputs(self.folder, self.texts)
        for name in ("data", "labelled", "trusted"):
            data = (self.folder / f"{name}.parquet").read_bytes()
            body = {"name": f"{name}.parquet", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            upload = self._ask("POST", "/v1/uploads", json=body, headers={"Idempotency-Key": f"upload {name}"}).json()
            for part in upload["parts"]:
                start = (part["number"] - 1) * upload["part_bytes"]
                self._ask("PUT", part["url"], content=data[start : start + part["size"]])
            self._ask("POST", f"/v1/uploads/{upload['id']}:complete")
            body = {"upload_ids": [upload["id"]], "name": name}
            made = self._ask("POST", "/v1/datasets", json=body, headers={"Idempotency-Key": f"dataset {name}"}).json()
            (self.folder / f"{name}.id").write_text(made["id"])

    def submit(self, kind: str, key: str) -> str:
        """A run's id; the same key asks for the same run, however often the service dies meanwhile."""
        engine, recipe = KINDS[kind]
        body: dict[str, Any] = {"dataset": self._id("data"), "recipe": recipe, "engine": engine}
        if kind == "learned":
            body |= {"dataset": self._id("labelled"), "trusted": self._id("trusted")}
        return str(self._ask("POST", "/v1/runs", json=body, headers={"Idempotency-Key": key}).json()["id"])

    def _id(self, name: str) -> str:
        return (self.folder / f"{name}.id").read_text()

    def run(self, run_id: str) -> dict[str, Any]:
        """The run's view; one that failed resumably is resumed, as a person would."""
        view: dict[str, Any] = self._ask("GET", f"/v1/runs/{run_id}").json()
        if view["state"] == "failed":
            if not view["error"]["resumable"]:
                raise AssertionError(f"run {run_id} failed for good: {view['error']}")
            view = self._ask("POST", f"/v1/runs/{run_id}:resume", fine=(409,)).json()
        return view

    def phase(self, run_id: str) -> str:
        """What the run works at, by its journal: progress is told once a second, and a phase may be shorter. Empty
        before its first commit."""
        with closing(sqlite3.connect(f"file:{self.root / 'winnow.db'}?mode=ro", uri=True)) as catalog:
            found = {
                step for (step,) in catalog.execute("SELECT DISTINCT step FROM run_outputs WHERE run = ?", [run_id])
            }
        reached = max((place for place, step in enumerate(ROAD) if step.name in found), default=None)
        if reached is None:
            return ROAD[0].phase if found else ""
        here = ROAD[reached] if ROAD[reached].over != "set" else ROAD[min(reached + 1, len(ROAD) - 1)]
        return here.phase

    def num_runs(self) -> int:
        """Runs in the catalog: as many as were asked for, or a submission was doubled."""
        return len(self._ask("GET", "/v1/runs?limit=1000").json()["items"])

    def _ask(self, method: str, path: str, fine: tuple[int, ...] = (), **given: Any) -> httpx.Response:
        """An answer, however often the service must be started for it; 409 for a key in flight is waited for."""
        for _ in range(600):
            self.keep_served()
            with suppress(httpx.TransportError):
                answer = self._http.request(method, path, **given)
                if answer.status_code < 400 or answer.status_code in fine:
                    return answer
                in_flight = answer.status_code == 409 and answer.json()["code"] == "idempotency_in_flight"
                if not in_flight and answer.status_code != 503:
                    raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
            time.sleep(0.1)
        raise AssertionError(f"{method} {path} was never answered")

    def verdicts(self, run_id: str, kind: str) -> str:
        """A digest of every decision in input order. Raises AssertionError when a row is lost or doubled."""
        rows = LABELLED if kind == "learned" else self.texts
        table = pa.Table.from_batches(
            Ledger(Store.open(self.root), run_id).scan(columns=["id", "action", "reason", "difficulty"])
        )
        ids = table["id"].to_pylist()
        if ids != list(range(rows)):
            raise AssertionError(f"run {run_id}: {len(ids)} decisions, {len(set(ids))} rows, {rows} expected in order")
        return hashlib.sha256(json.dumps(table.to_pydict()).encode()).hexdigest()


def active(view: dict[str, Any]) -> bool:
    return view["state"] in _ACTIVE


def write_inputs(folder: Path, texts: int) -> None:
    """Texts of which every seventh repeats itself; 3,000 of them with labels, a fifth of them wrong, and a trusted
    sample."""
    rng = random.Random(3)
    topics = [[f"{topic}{number}" for number in range(150)] for topic in ("sea", "law", "sky")]
    both = [[*topics[own], *topics[own], *topics[own], *topics[0], *topics[1], *topics[2]] for own in range(3)]
    count = max(texts, LABELLED)
    said = [
        " ".join(rng.choices(both[number % 3], k=50)) + "." if number % 7 else "same again. " * 20
        for number in range(count)
    ]
    truth = [f"topic{number % 3}" for number in range(LABELLED)]
    given = [label if rng.random() > 0.2 else f"topic{rng.randrange(3)}" for label in truth]
    ids = pa.array(range(count), pa.int64())
    pq.write_table(pa.table({"id": ids[:texts], "text": said[:texts]}), folder / "data.parquet")
    labelled = {"id": ids[:LABELLED], "text": said[:LABELLED], "label": given}
    pq.write_table(pa.table(labelled), folder / "labelled.parquet")
    rows = sorted(rng.sample(range(LABELLED), 300))
    table = pa.table({"id": ids.take(pa.array(rows)), "label": [truth[row] for row in rows]})
    pq.write_table(table, folder / "trusted.parquet")


@contextmanager
def stopped(siege: Siege) -> Iterator[Siege]:
    """The siege, its processes ended on the way out."""
    try:
        yield siege
    finally:
        siege.close()


def _processes() -> dict[int, tuple[str, int]]:
    """Command line and parent of every living process."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    table[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace"), int(fields[1])
    return table


def _below(pid: int, ancestors: list[int], table: dict[int, tuple[str, int]]) -> bool:
    while pid in table:
        pid = table[pid][1]
        if pid in ancestors:
            return True
    return False

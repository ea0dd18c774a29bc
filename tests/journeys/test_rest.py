"""The service as its README shows it, with HTTP alone; and what survives when its processes are killed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from curator.client.rest import Client
from tests.journeys.conftest import Served

pytestmark = pytest.mark.timeout(300)
RECIPE = {"task": "text", "columns": {"text": "text"}, "process": ["exact_duplicates"], "unit_rows": 64}


def jsonl(rows: int, words: int = 40) -> bytes:
    lines = []
    for number in range(rows):
        said = " ".join(f"word{(number * 31 + place * place) % 997}" for place in range(words))
        text = "the same again and again" if number % 10 == 9 else f"{number} {said}."
        lines.append(json.dumps({"id": f"row{number}", "text": text}))
    return "\n".join(lines).encode() + b"\n"


def test_the_journey_of_the_readme_with_http_alone(served: Served) -> None:
    data, http = jsonl(500), httpx.Client(base_url=f"{served.url}/v1", timeout=60)
    announced = {"name": "data.jsonl", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    upload = http.post("/uploads", json=announced).json()["id"]
    assert http.put(f"/uploads/{upload}/parts/1", content=data).status_code == 204
    assert http.post(f"/uploads/{upload}:complete").json()["state"] == "complete"
    dataset = http.post("/datasets", json={"upload_ids": [upload]}).json()["id"]
    asked = http.post(
        "/runs", json={"dataset": dataset, "recipe": RECIPE}, headers={"Idempotency-Key": "the-readmes-own"}
    )
    assert asked.status_code == 202
    run = asked.json()["id"]

    told = []
    with http.stream("GET", f"/runs/{run}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
    assert told[-1]["to_state"] == "succeeded"

    dropped = http.get(f"/runs/{run}/decisions?action=drop&limit=20&rows=true").json()["items"]
    assert {row["reason"] for row in dropped} == {"exact_duplicate"}
    assert {row["row"]["text"] for row in dropped} == {"the same again and again"}
    summary = http.get(f"/runs/{run}").json()["summary"]
    assert (summary["rows_in"], summary["dropped"]) == (500, 49)

    shards = http.get(f"/manifests/{summary['manifest']}").json()["shards"]
    rows = 0
    for shard in shards:
        content = http.get(f"/shards/{shard['digest']}").content
        assert hashlib.sha256(content).hexdigest() == shard["digest"]
        rows += pa.ipc.open_file(content).read_all().num_rows
    assert rows == 500  # kept rows and quarantined ones: nothing is lost
    http.close()


def test_the_same_request_twice_is_the_same_manifest(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(300))
    first, second = (served.client.curate(file, recipe=RECIPE) for _ in range(2))
    assert first.run != second.run
    assert first.manifest == second.manifest
    assert served.client.curate(file, recipe=RECIPE, seed=1).run != first.run


def test_a_runner_trains_on_what_was_kept(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(400))
    kept = served.client.curate(file, recipe=RECIPE)
    small = {"epochs": 1, "context": 16, "width": 16, "heads": 2, "depth": 1, "global_batch_size": 8}
    job = served.client.jobs.create(manifest=kept.manifest, entry="language-model", recipe=small)
    for _ in range(600):
        job = served.client.jobs.get(job["id"])
        if job["poll_after_ms"] is None:
            break
        time.sleep(0.1)
    assert job["state"] == "succeeded", job["error"]
    assert job["result"]["manifest"] == kept.manifest
    assert job["result"]["feedback"]["accepted"] == job["result"]["num_samples"] > 0
    assert str(served.root) not in json.dumps(job)


def test_a_file_larger_than_a_part_goes_up_in_parts(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(9000))
    assert file.stat().st_size > 2**21
    upload = served.client.upload(file, part_bytes=2**20)
    dataset = served.client.create_dataset(upload)
    assert (dataset["state"], dataset["rows"]) == ("ready", 9000)


def test_damaged_data_is_refused_with_its_row(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(10) + b'{"text": oops}\n')
    with pytest.raises(Exception, match="row 10"):
        served.client.create_dataset(served.client.upload(file))


def test_a_run_made_without_the_server_is_seen_by_it(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(200))
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    command = [sys.executable, "-m", "api.cli", "curate", str(file), "--recipe", str(tmp_path / "recipe.json")]
    done = subprocess.run(
        [*command, "--out", str(served.root), "--json"], capture_output=True, text=True, check=True, env=plain()
    )
    summary = json.loads(done.stdout)
    assert served.client.run(summary["run"])["state"] == "succeeded"
    assert served.client.manifest(summary["manifest"])["shards"]
    assert sum(1 for _ in served.client.decisions(summary["run"])) == 200
    plan = served.client.plans.create(summary["manifest"], global_batch_size=8)
    assert plan["manifest"] == summary["manifest"]


def plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}


class Service:
    """A server that can be killed and started again on the same root."""

    def __init__(self, root: Path):
        self.root = root
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> Client:
        command = [sys.executable, "-m", "api.cli", "serve", "--root", str(self.root), "--port", "0"]
        environment = {**plain(), "WINNOW_LEASE_S": "4", "WINNOW_HEARTBEAT_S": "1", "WINNOW_GRACE_S": "3"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert self.process.stdout is not None
        port = re.search(r":(\d+) ", self.process.stdout.readline())
        assert port
        self.url = f"http://127.0.0.1:{port[1]}"
        return Client(self.url, retries=8)

    def family(self) -> list[int]:
        """The counter and its runner."""
        assert self.process is not None
        told = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [self.process.pid, *map(int, told.stdout.split())]

    def kill(self) -> None:
        """Everything at once, as a power cut would."""
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
        assert self.process is not None and self.process.stdout is not None
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "root")
    yield made
    if made.process is not None and made.process.stdout is not None and not made.process.stdout.closed:
        made.stop()


def until(client: Client, run: str, *states: str) -> dict[str, Any]:
    for _ in range(1200):
        found = client.run(run)
        if found["state"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(f"the run is {found['state']}, waited for {states}")


def test_a_power_cut_loses_no_run_and_changes_no_manifest(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(4000))
    client = service.start()
    undisturbed = client.curate(file, recipe=RECIPE)
    run = client.submit(client.create_dataset(client.upload(file)), RECIPE)["id"]
    until(client, run, "validating", "running")
    service.kill()
    client.close()
    client = service.start()
    ended = until(client, run, "succeeded", "failed")
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["summary"]["manifest"] == undisturbed.manifest
    assert client.run(undisturbed.run)["state"] == "succeeded"
    client.close()


def test_the_counter_answers_while_a_killed_runner_is_replaced(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(4000))
    client = service.start()
    run = client.submit(client.create_dataset(client.upload(file)), RECIPE)["id"]
    until(client, run, "validating", "running", "succeeded")
    for pid in service.family()[1:]:
        os.kill(pid, signal.SIGKILL)
    assert client.run(run)["id"] == run
    assert until(client, run, "succeeded", "failed")["state"] == "succeeded"
    client.close()

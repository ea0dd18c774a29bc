"""Three strangers take the same road: one with curl alone, as the README shows it; one with the Python SDK; one with a
client that a generator made from the OpenAPI document."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import ShardStream
from tests.api.conftest import documents
from tests.journeys.conftest import Served

pytestmark = pytest.mark.timeout(300)
README = Path(__file__).parents[2] / "README.md"
RECIPE = {"task": "text", "columns": {"text": "text"}, "process": ["exact_duplicates", {"length": {"min_chars": 60}}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    pq.write_table(documents(), path)
    return path


def test_with_curl_as_the_readme_shows_it(served: Served, data: Path, tmp_path: Path) -> None:
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("the README's journey needs curl and jq")
    block = README.read_text().split("## The REST journey, with curl alone")[1].split("```")[1]
    script = re.sub(r"^winnow serve &.*\n", "", block, flags=re.M).replace("http://127.0.0.1:8700", served.url)
    shutil.copy(data, tmp_path / "data.parquet")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{script}\necho "$RUN $MAN"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run, manifest = done.stdout.split()[-2:]
    assert "urn:winnow:problem" not in done.stdout
    ended = httpx.get(f"{served.url}/v1/runs/{run}").json()
    assert (ended["state"], ended["summary"]["manifest"]) == ("succeeded", manifest)
    assert pq.read_table(tmp_path / "trusted.parquet").num_rows == 1


def test_with_the_python_sdk(served: Served, data: Path) -> None:
    client = served.client
    run = client.curate(data, recipe=RECIPE)
    assert run.summary.rows_in == 240 and run.summary.dropped > 0
    dropped = list(client.decisions(run.run, action="drop"))
    assert len(dropped) == run.summary.dropped
    what_if = client.what_if(run.run, {"length.min_chars": 1})
    assert what_if["kept"] > what_if["kept_before"]
    stream = ShardStream(client, manifest=run.manifest, seed=0, global_batch_size=8)
    stream.set_epoch(0)
    ids = [sample for batch in stream for sample in batch["sample_id"]]
    assert 0 < len(ids) <= run.summary.kept
    job = client.jobs.create(manifest=run.manifest, mode="external")
    table = pa.table({"sample_id": pa.array(ids, pa.binary(16)), "epoch": pa.array([0] * len(ids), pa.int32())})
    table = table.append_column("step", pa.array(range(len(ids)), pa.int64()))
    assert client.feedback(job, table.append_column("loss", pa.array([0.5] * len(ids), pa.float32()))) == len(ids)
    corrected = client.override(run.run, [{"sample_id": dropped[0]["sample_id"], "action": "keep"}])
    assert corrected["manifest"] != run.manifest


@pytest.fixture(scope="module")
def generated(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes of the served document; every operation must have come through."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(httpx.get(f"{served.url}/openapi.json").content)
    binary = ["vnd.apache.arrow.file", "vnd.apache.arrow.stream", "vnd.apache.parquet"]
    overrides = {f"application/{kind}": "application/octet-stream" for kind in binary}
    overrides["application/vnd.apache.parquet, application/vnd.apache.arrow.file"] = "application/octet-stream"
    (folder / "config.json").write_text(json.dumps({"content_type_overrides": overrides, "post_hooks": []}))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"]
    command += ["--config", "config.json", "--output-path", "winnow_generated"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "unable to parse" not in done.stdout.lower(), done.stdout + done.stderr
    compiled = [sys.executable, "-W", "ignore", "-m", "compileall", "-q", "winnow_generated"]  # its style is its own
    assert subprocess.run(compiled, cwd=folder, check=False).returncode == 0
    sys.path.insert(0, str(folder))
    yield importlib.import_module("winnow_generated")
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "winnow_generated"]:
        del sys.modules[name]


def test_with_a_generated_client(served: Served, data: Path, generated: ModuleType) -> None:
    client, content = generated.Client(served.url, raise_on_unexpected_status=True), data.read_bytes()

    def call(module: str, *arguments: Any, **named: Any) -> Any:
        found = importlib.import_module(f"winnow_generated.api.{module}")
        return found.sync_detailed(*arguments, client=client, **named)

    def body(shape: str, **fields: Any) -> Any:
        return getattr(importlib.import_module("winnow_generated.models"), shape).from_dict(fields)

    announced = body("NewUpload", name="data.parquet", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    upload = call("uploads.create_upload", body=announced).parsed
    file = importlib.import_module("winnow_generated.types").File(payload=data.open("rb"))
    assert call("uploads.put_part", upload.id, 1, body=file).status_code == 204
    file.payload.close()
    assert call("uploads.complete_upload", upload.id).parsed.state == "complete"
    dataset = call("datasets.create_dataset", body=body("NewDataset", upload_ids=[upload.id])).parsed
    asked = body("NewRun", dataset=dataset.id, recipe=RECIPE)
    run = call("runs.create_run", body=asked, idempotency_key="a-generated-tour").parsed
    assert call("runs.create_run", body=asked, idempotency_key="a-generated-tour").parsed.id == run.id
    deadline = time.monotonic() + 120
    while (run := call("runs.get_run", run.id).parsed).state not in ("succeeded", "failed"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run.state == "succeeded", run.error
    manifest = call("manifests.get_manifest", run.summary.manifest).parsed
    rows = 0
    for shard in manifest.shards:
        answer = call("shards.get_shard", shard.digest)
        assert hashlib.sha256(answer.content).hexdigest() == shard.digest
        rows += pa.ipc.open_file(answer.content).read_all().num_rows
    assert rows == 240
    problem = call("runs.get_run", "run_nothing")
    assert (problem.status_code, problem.parsed.code) == (404, "not_found")
    client.get_httpx_client().close()

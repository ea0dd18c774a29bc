"""A root in an object store, over HTTP: the same manifest as a local root, read back, resumed, refused in clear words.

The store is moto's S3 on loopback, a process of its own. The catalog is SQLite on a local disk, as the settings ask.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from curator.catalog import Catalog, Scope
from curator.catalog.shelf import shelve
from curator.client.shard_stream import ShardStream
from curator.client.sources import HttpSource
from curator.settings import Settings
from curator.shards import Manifest
from curator.shards.layout import shard_name
from curator.storage import Store
from pipelines.purging import purge_due
from pipelines.tidying import sweep_forgotten
from tests.api.conftest import serve_app
from tests.curator.shards.dataset import write_dataset
from tests.journeys.test_kill import corpus

pytestmark = pytest.mark.timeout(120)

BUCKET = "winnow"
UNITS = 4


class S3(NamedTuple):
    endpoint: str

    def root(self, place: str) -> str:
        return f"s3://{place}?endpoint_override={self.endpoint.removeprefix('http://')}&scheme=http&region=us-east-1"

    def demand_permission(self, demand: bool) -> None:
        """Whether requests need a known key from now on; nobody here has one."""
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content="0" if demand else "inf").raise_for_status()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "server.log"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
    store = S3(f"http://127.0.0.1:{port}")
    try:
        _until_ready(store.endpoint, process, log)
        httpx.put(f"{store.endpoint}/{BUCKET}").raise_for_status()
        yield store
    finally:
        process.terminate()
        process.wait(timeout=30)


def _until_ready(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        with suppress(httpx.TransportError):
            if httpx.get(f"{endpoint}/moto-api/data.json", timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials where AWS's own tools look for them; a catalog on this disk; no look-up of a machine's role."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "WINNOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("WINNOW_DATABASE_URL", f"sqlite:///{tmp_path / 'catalog.db'}")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of `winnow curate` that say what to do with 3,000 rows of text, in four units."""
    folder = tmp_path_factory.mktemp("inputs")
    recipe = folder / "recipe.yaml"
    process = "process: [gopher_repetition, exact_duplicates, near_duplicates]"
    recipe.write_text(f"task: text\ncolumns: {{text: text}}\n{process}\nunit_rows: {3000 // UNITS}\n")
    return [str(corpus(folder / "data.jsonl")), "--recipe", str(recipe)]


@pytest.fixture(scope="module")
def local(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same rows come to on a local root."""
    result = CliRunner().invoke(app, ["curate", *inputs, "--out", str(tmp_path_factory.mktemp("local")), "--json"])
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def winnow(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.stdout, result.stderr


def objects(s3: S3, place: str) -> list[str]:
    return Store.open(s3.root(f"{BUCKET}/{place}")).list()


def test_the_same_manifest_and_every_reader_finds_it(
    s3: S3, inputs: list[str], local: dict[str, Any], tmp_path: Path
) -> None:
    root = s3.root(f"{BUCKET}/team/one")
    code, out, told = winnow("curate", *inputs, "--out", root, "--json")
    assert code == 0, told
    here = json.loads(out)
    same = ("manifest", "rows_in", "kept", "dropped", "reasons", "difficulty", "policy")
    assert {name: here[name] for name in same} == {name: local[name] for name in same}
    assert here["ledger"] == f"s3://{BUCKET}/team/one/runs/{here['run']}/ledger"

    ledger, epoch, exported = tmp_path / "ledger.parquet", tmp_path / "epoch.parquet", tmp_path / "exported"
    for words in (
        ["decisions", here["run"], "--out", str(ledger)],
        ["pull", here["manifest"], "--epoch", "0", "--out", str(epoch)],
        ["export", here["manifest"], "--format", "jsonl", "--out", str(exported)],
    ):
        code, _, told = winnow(*words, "--root", root)
        assert code == 0, (words, told)
    decisions = pq.read_table(ledger).to_pylist()
    kept = {row["id"] for row in decisions if row["action"] != "drop"}
    assert [row["id"] for row in decisions] == list(range(3000)) and len(kept) == local["kept"]
    pulled = pq.read_table(epoch)["id"].to_pylist()
    assert set(pulled) <= kept and len(pulled) > 0
    lines = [line for path in sorted(exported.glob("*.jsonl")) for line in path.read_text().splitlines()]
    assert {json.loads(line)["id"] for line in lines} == kept and len(lines) == len(kept)


def test_a_run_killed_midway_goes_on(s3: S3, inputs: list[str], local: dict[str, Any]) -> None:
    root = s3.root(f"{BUCKET}/killed")
    command = [sys.executable, "-m", "api.cli", "curate", *inputs, "--out", root, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and sum(name.endswith("signals.arrow") for name in objects(s3, "killed")) < 2:
            time.sleep(0.02)
    finally:
        process.kill()
        output, errors = process.communicate()
    done = objects(s3, "killed")
    assert process.returncode == -9, (output, errors)
    assert not any(name.startswith("manifests/") for name in done)

    code, out, told = winnow("curate", "--resume", "last", "--out", root, "--json")
    assert code == 0, told
    resumed = json.loads(out)
    assert any(name.startswith(f"runs/{resumed['run']}/units/") for name in done), "the same run goes on"
    assert (resumed["manifest"], resumed["kept"]) == (local["manifest"], local["kept"])
    assert f"manifests/{resumed['manifest']}.json" in objects(s3, "killed")


def test_a_bucket_that_is_not_there(s3: S3, inputs: list[str]) -> None:
    code, out, told = winnow("curate", *inputs, "--out", s3.root("wineow/team"), "--json")
    assert (code, out) == (2, ""), told
    assert "wineow" in told and "create the bucket" in told and "secret" not in told
    assert "Traceback" not in told


def test_a_store_that_lets_nobody_in(s3: S3, inputs: list[str]) -> None:
    s3.demand_permission(True)
    try:
        code, out, told = winnow("curate", *inputs, "--out", s3.root(f"{BUCKET}/forbidden"), "--json")
        read = winnow("decisions", "last", "--root", s3.root(f"{BUCKET}/team/one"), "--out", "ledger.parquet")
    finally:
        s3.demand_permission(False)
    assert (code, out) == (2, ""), told
    assert "permission" in told and f"{BUCKET}/forbidden" in told and "Traceback" not in told
    assert read[0] == 2 and "permission" in read[2], read[2]
    assert objects(s3, "forbidden") == []


def test_rows_in_a_bucket(s3: S3, inputs: list[str], local: dict[str, Any], tmp_path: Path) -> None:
    """Inputs by URL; the connection is the address's own."""
    filesystem, _ = pafs.FileSystem.from_uri(s3.root(BUCKET))
    with filesystem.open_output_stream(f"{BUCKET}/inputs/data.jsonl") as sink:
        sink.write(Path(inputs[0]).read_bytes())
    address = s3.root(f"{BUCKET}/inputs/data.jsonl")
    code, out, told = winnow("curate", address, *inputs[1:], "--out", str(tmp_path / "root"), "--json")
    assert code == 0, told
    assert json.loads(out)["manifest"] == local["manifest"]


class Noting(httpx.BaseTransport):
    """Remembers who was shown which key."""

    def __init__(self) -> None:
        self.real, self.shown = httpx.HTTPTransport(), []  # type: ignore[var-annotated]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.shown.append((request.url.netloc.decode(), request.headers.get("authorization")))
        return self.real.handle_request(request)


@pytest.fixture
def shelved(s3: S3, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """A server on a root in the bucket that points to it for shards: (address, key, manifest)."""
    root = s3.root(f"{BUCKET}/served")
    manifest = write_dataset(Store.open(root)).manifest
    service_app = create_app(
        Settings(root=root, database_url=f"sqlite:///{tmp_path / 'served.db'}", shard_redirects=True), require_key=True
    )
    service = service_app.state.service
    tenant = service.catalog.keys.tenant("team").id
    shelve(service.catalog.manifests, service.store, tenant, manifest, run=None)
    secret = service.catalog.keys.create(tenant, "pull", [Scope.READ])[1]
    for url in serve_app(service_app):
        yield url, secret, manifest.id


def test_shards_come_from_the_bucket_and_the_bucket_sees_no_key(
    s3: S3, shelved: tuple[str, str, str], tmp_path: Path
) -> None:
    url, secret, name = shelved
    noting = Noting()
    stream = ShardStream(
        HttpSource(url, secret, tmp_path / "cache", transport=noting), name, global_batch_size=10, columns=["number"]
    )
    rows = [number for batch in stream for number in batch["number"].to_pylist()]
    noting.real.close()
    assert len(rows) == len(set(rows)) > 0
    bucket, server = s3.endpoint.removeprefix("http://"), url.removeprefix("http://")
    keys = {host: {key for asked, key in noting.shown if asked == host} for host in (bucket, server)}
    assert keys == {bucket: {None}, server: {f"Bearer {secret}"}}


def test_urls_the_bucket_serves_by_itself_for_a_while(
    s3: S3, shelved: tuple[str, str, str], request: pytest.FixtureRequest
) -> None:
    url, secret, name = shelved
    http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"})
    request.addfinalizer(http.close)
    digest = http.get(f"/v1/manifests/{name}").json()["shards"][0]["digest"]
    [item] = http.post("/v1/shards:presign", json={"digests": [digest], "expires_s": 60}).json()["items"]
    assert item["direct"] and item["expires_at"] and item["url"].startswith(f"{s3.endpoint}/{BUCKET}/served/shards/")
    assert "secret" not in item["url"] and "X-Amz-Expires=60" in item["url"]
    whole = httpx.get(item["url"])
    assert hashlib.sha256(whole.content).hexdigest() == digest and len(whole.content) == item["bytes"]
    assert httpx.get(item["url"], headers={"Range": "bytes=0-9"}).content == whole.content[:10]
    moved = http.get(f"/v1/shards/{digest}")
    assert (moved.status_code, moved.headers["cache-control"]) == (307, "no-store")
    assert http.get(f"/v1/shards/{digest}", headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    assert http.head(f"/v1/shards/{digest}").headers["content-length"] == str(item["bytes"])
    part = http.get(f"/v1/shards/{digest}?columns=number")
    assert part.status_code == 200, "some columns are made here"


def test_a_run_is_purged_with_its_objects(
    s3: S3, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = s3.root(f"{BUCKET}/purged"), []
    for process in ("[exact_duplicates]", "[]"):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"task: text\ncolumns: {{text: text}}\nprocess: {process}\nunit_rows: 3000\n")
        code, told, said = winnow("curate", inputs[0], "--recipe", str(recipe), "--out", root, "--json")
        assert code == 0, said
        made.append(json.loads(told))
    settings = Settings.from_environment(root=root, retention_deleted_days=0.0)
    with Catalog.open(settings.database_url) as catalog:
        catalog.purging.delete_run("local", made[0]["run"])
        purge_due(catalog, settings)
        assert {name.split("/")[1] for name in objects(s3, "purged") if name.startswith("runs/")} == {made[1]["run"]}
        assert f"manifests/{made[0]['manifest']}.json" not in objects(s3, "purged")
        before = {name for name in objects(s3, "purged") if name.startswith("shards/")}
        monkeypatch.setattr("curator.storage._modified_s", lambda info: time.time() - 30 * 86_400.0)
        sweep_forgotten(catalog, settings)
    store = Store.open(root)
    manifest = Manifest.load(store, made[1]["manifest"])
    left = {name for name in objects(s3, "purged") if name.startswith("shards/")}
    assert left == {shard_name(shard.digest) for shard in manifest.shards} < before

"""A served house: the application under a real server, two tenants, and one finished run with real shards."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from api.app import create_app
from api.service import Service
from curator.catalog import LOCAL_TENANT, Scope
from curator.settings import Settings

SAID = (
    "the harvest was carried over the hill and into the barn before rain came from the west that evening "
    "while people of this valley sang about wheat and bread with children and old friends around them"
)
WORDS = SAID.split()


@dataclass
class House:
    """`one` and `two` are clients of two tenants with every scope; `nobody` shows no key."""

    url: str
    service: Service
    app: Any
    one: httpx.Client
    two: httpx.Client
    nobody: httpx.Client
    tenant: str
    other: str
    made: list[httpx.Client] = field(default_factory=list)

    def client(self, scopes: list[Scope], *, ttl_s: float | None = None) -> httpx.Client:
        """A client of tenant one whose key may do only this."""
        _, secret = self.service.catalog.keys.create(self.tenant, "test", scopes, ttl_s=ttl_s)
        made = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
        self.made.append(made)
        return made

    def operator(self) -> httpx.Client:
        """A client of whoever runs the server."""
        _, secret = self.service.catalog.keys.create(LOCAL_TENANT, "operator", [Scope.ADMIN])
        self.made.append(httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {secret}"}, timeout=30))
        return self.made[-1]

    def client_of_one(self) -> httpx.Client:
        """Another connection pool of tenant one, for what happens while a stream is open."""
        return self.client([Scope.ADMIN])


def serve_app(app: Any) -> Iterator[str]:
    """The application's address while it is served in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", proxy_headers=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server stopped before it began"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="session")
def serve() -> Any:
    """`serve_app`, for tests that need an application of their own."""
    return serve_app


@pytest.fixture(scope="session")
def inputs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder the served house may read by reference."""
    return tmp_path_factory.mktemp("inputs")


def open_house(root: Path, inputs: Path, database_url: str = "") -> Iterator[House]:
    """A house on an empty root, and an empty database, served until the iterator is done with."""
    settings = Settings(
        root=str(root),
        database_url=database_url,
        webhook_roots=("https://hooks.example.com/",),
        input_roots=(str(inputs),),
        max_upload_bytes=32 * 2**20,
        upload_quota_bytes=64 * 2**20,
    )
    app = create_app(settings, require_key=True)
    service: Service = app.state.service
    tenants = [service.catalog.keys.tenant(name).id for name in ("one", "two")]
    secrets = [service.catalog.keys.create(tenant, "test", [Scope.ADMIN])[1] for tenant in tenants]
    for url in serve_app(app):
        clients = [
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=30) for secret in secrets
        ]
        with clients[0], clients[1], httpx.Client(base_url=url, timeout=30) as nobody:
            served = House(url, service, app, clients[0], clients[1], nobody, tenants[0], tenants[1])
            yield served
            for client in served.made:
                client.close()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, inputs_folder: Path) -> Iterator[House]:
    yield from open_house(tmp_path_factory.mktemp("house"), inputs_folder)


def sentence(seed: int, words: int) -> str:
    return " ".join(WORDS[(seed * 7 + place * (seed % 5 + 1)) % len(WORDS)] for place in range(words))


def documents(rows: int = 240) -> pa.Table:
    """Documents of which every eighth is too short and every ninth repeats its predecessor word for word."""
    texts: list[str] = []
    for number in range(rows):
        if number % 9 == 5:
            texts.append(texts[-1])
        else:
            texts.append(f"Document {number}. " + sentence(number, 4 if number % 8 == 3 else 70 + number % 31))
    return pa.table({"id": [f"doc{number}" for number in range(rows)], "text": texts})


def upload(client: httpx.Client, data: bytes, name: str = "data.parquet") -> str:
    """A complete upload's id."""
    body = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    made = client.post("/v1/uploads", json=body)
    assert made.status_code == 201, made.text
    for part in made.json()["parts"]:
        start = (part["number"] - 1) * made.json()["part_bytes"]
        sent = client.put(part["url"], content=data[start : start + part["size"]])
        assert sent.status_code == 204, sent.text
    done = client.post(f"/v1/uploads/{made.json()['id']}:complete")
    assert done.status_code == 200, done.text
    return str(made.json()["id"])


@pytest.fixture(scope="session")
def send() -> Any:
    """`upload(client, bytes, name) -> id`."""
    return upload


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The documents as a Parquet file's bytes."""
    path = tmp_path_factory.mktemp("parquet") / "documents.parquet"
    pq.write_table(documents(), path)
    return path.read_bytes()


def register(house: House, data: bytes) -> dict[str, Any]:
    """Tenant one's dataset of these bytes."""
    made = house.one.post("/v1/datasets", json={"upload_ids": [upload(house.one, data)], "name": "documents"})
    assert made.status_code == 202, made.text
    assert made.json()["state"] == "ready", made.text
    return made.json()  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def dataset(house: House, parquet: bytes) -> dict[str, Any]:
    """Tenant one's registered dataset."""
    return register(house, parquet)


RECIPE = {
    "task": "text",
    "columns": {"text": "text"},
    "process": ["exact_duplicates", {"length": {"min_chars": 60}}],
    "unit_rows": 100,
}


def work_through(house: House, dataset: dict[str, Any]) -> dict[str, Any]:
    """Tenant one's run of a dataset, worked through by the real road in this process."""
    from pipelines.execute import execute
    from pipelines.runner import Runner

    made = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": RECIPE})
    assert made.status_code == 202, made.text
    runner = Runner(house.service.settings, house.service.catalog, execute)
    while house.one.get(f"/v1/runs/{made.json()['id']}").json()["state"] == "queued":
        assert runner.run_once()
    run = house.one.get(f"/v1/runs/{made.json()['id']}").json()
    assert run["state"] == "succeeded", run["error"]
    return run  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def finished(house: House, dataset: dict[str, Any]) -> dict[str, Any]:
    """Tenant one's finished run."""
    return work_through(house, dataset)


def until_none_is_queued(once: Callable[..., bool], house: House) -> None:
    """Has a runner do all queued work of one kind."""
    turn = partial(once, house.service.catalog, house.service.settings, "host/x/1/1/1", threading.Event())
    deque(iter(turn, False), maxlen=0)


def own_one_of_each(house: House, finished: dict[str, Any], dataset: dict[str, Any], data: bytes) -> dict[str, str]:
    """Tenant one's ids by the name of the path parameter, and by the name in a body."""
    from pipelines.exporting import export_once
    from pipelines.rewriting import rewrite_once

    manifest = finished["summary"]["manifest"]
    listed = house.one.get(f"/v1/manifests/{manifest}").json()["shards"]
    asked = {"manifest": manifest, "global_batch_size": 8, "curriculum": "adaptive"}
    plan = house.one.post("/v1/epoch-plans", json=asked).json()["id"]
    lease = house.one.post(f"/v1/epoch-plans/{plan}/epochs/0/leases", json={}).json()["lease"]["id"]
    job = house.one.post("/v1/training-jobs", json={"manifest": manifest, "mode": "external"}).json()["id"]
    decision = house.one.get(f"/v1/runs/{finished['id']}/decisions?limit=1").json()["items"][0]
    house.one.put("/v1/aliases/walked-to", json={"manifest": manifest}, headers={"If-Match": "*"})
    asked = {"run": finished["id"], "budget": 2, "seed": 101}
    queue = house.one.post("/v1/review/queues", json=asked).json()["id"]
    [item] = house.one.post(f"/v1/review/queues/{queue}:claim?n=1").json()["items"]
    scorecard = {"promise": {"basis": "audited", "false_drop": 0.0, "max_false_drop": 0.05}}
    about = {"task": "text", "run": finished["id"], "recipe_digest": "d", "path": "policies/walk", "sha256": "0" * 64}
    house.service.store.write_bytes("policies/walk/judge.safetensors", b"weights")
    house.service.catalog.policies.record(house.tenant, "walked", "judge_w", **about, scorecard=scorecard)
    export = house.one.post("/v1/exports", json={"manifest": manifest, "format": "jsonl"}).json()["id"]
    rewrite = house.one.post(f"/v1/epoch-plans/{plan}/epochs/0:pack").json()["id"]
    until_none_is_queued(rewrite_once, house)
    until_none_is_queued(export_once, house)  # other tests' neither
    [file] = house.one.get(f"/v1/exports/{export}").json()["files"]
    verdict = {"action": "keep", "lease": item["lease"]["token"]}
    house.one.post(f"/v1/review/items/{item['id']}/verdict", json=verdict)
    key = house.one.post("/v1/keys", json={"name": "spare", "scopes": ["read"]}).json()["id"]
    webhook = house.one.post("/v1/webhooks", json={"url": "https://hooks.example.com/w"}).json()["id"]
    kept = {"recipe": {**RECIPE, "seed": 7}, "name": "walked"}
    return {
        "recipe_id": house.one.post("/v1/recipes", json=kept).json()["id"],
        "key_id": key,
        "webhook_id": webhook,
        "export_id": export,
        "rewrite_id": rewrite,
        "file": file["name"],
        "operation_id": finished["id"],
        "name": "walked",
        "alias": "champion",
        "alias_name": "walked-to",
        "queue_id": queue,
        "item_id": item["id"],
        "upload_id": upload(house.one, data),
        "dataset_id": dataset["id"],
        "run_id": finished["id"],
        "manifest_id": manifest,
        "shard": listed[0]["digest"],
        "index": next(shard["index"] for shard in listed if shard["index"]),
        "plan_id": plan,
        "lease_id": lease,
        "job_id": job,
        "sample_id": decision["sample_id"],
        "number": "1",
        "epoch": "0",
    }


@pytest.fixture(scope="session")
def owned(house: House, finished: dict[str, Any], dataset: dict[str, Any], parquet: bytes) -> dict[str, str]:
    """One of everything a tenant can own, by the name of its path parameter."""
    return own_one_of_each(house, finished, dataset, parquet)


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, inputs_folder: Path, parquet: bytes
) -> Iterator[tuple[House, dict[str, str]]]:
    """`throwaway`, once on each kind of database."""
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    for house in open_house(tmp_path_factory.mktemp("either"), inputs_folder, url):
        dataset = register(house, parquet)
        yield house, own_one_of_each(house, work_through(house, dataset), dataset, parquet)


@pytest.fixture(scope="module")
def throwaway(
    tmp_path_factory: pytest.TempPathFactory, inputs_folder: Path, parquet: bytes
) -> Iterator[tuple[House, dict[str, str]]]:
    """A house of its own with one of everything in it, for tests that leave nothing standing."""
    for house in open_house(tmp_path_factory.mktemp("throwaway"), inputs_folder):
        dataset = register(house, parquet)
        yield house, own_one_of_each(house, work_through(house, dataset), dataset, parquet)


@pytest.fixture
def queued(house: House, dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A fresh run of tenant one that nobody works on; cancelled afterwards."""
    made = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": RECIPE})
    assert made.status_code == 202, made.text
    yield made.json()
    house.one.post(f"/v1/runs/{made.json()['id']}:cancel")

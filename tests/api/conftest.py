"""A served house: the application under a real server, two tenants, and one finished run with real shards."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from api.app import create_app
from api.service import Service
from curator.catalog import Scope
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


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, inputs_folder: Path) -> Iterator[House]:
    root = tmp_path_factory.mktemp("house")
    settings = Settings(
        root=str(root), input_roots=(str(inputs_folder),), max_upload_bytes=32 * 2**20, upload_quota_bytes=64 * 2**20
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


@pytest.fixture(scope="session")
def dataset(house: House, parquet: bytes) -> dict[str, Any]:
    """Tenant one's registered dataset."""
    made = house.one.post("/v1/datasets", json={"upload_ids": [upload(house.one, parquet)], "name": "documents"})
    assert made.status_code == 202, made.text
    assert made.json()["state"] == "ready", made.text
    return made.json()  # type: ignore[no-any-return]


RECIPE = {
    "task": "text",
    "columns": {"text": "text"},
    "process": ["exact_duplicates", {"length": {"min_chars": 60}}],
    "unit_rows": 100,
}


@pytest.fixture(scope="session")
def finished(house: House, dataset: dict[str, Any]) -> dict[str, Any]:
    """Tenant one's run, worked through by the real road in this process."""
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


@pytest.fixture
def queued(house: House, dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A fresh run of tenant one that nobody works on; cancelled afterwards."""
    made = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": RECIPE})
    assert made.status_code == 202, made.text
    yield made.json()
    house.one.post(f"/v1/runs/{made.json()['id']}:cancel")

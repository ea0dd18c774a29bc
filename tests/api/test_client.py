"""The Python client against the real service: every resource has its noun, and says what the service told."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from curator.client.rest import Client
from curator.client.shard_stream import ShardStream
from curator.epochs.adaptive import Losses
from curator.errors import ConflictError, InputError, LeaseLostError, NotFoundError, RequestError
from pipelines.exporting import export_once
from pipelines.rewriting import rewrite_once


class Noting(httpx.BaseTransport):
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.real, self.asked = httpx.HTTPTransport(), set()  # type: ignore[var-annotated]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.add((request.method, request.url.path))
        return self.real.handle_request(request)


@pytest.fixture(scope="module")
def noting() -> Iterator[Noting]:
    made = Noting()
    yield made
    made.real.close()


@pytest.fixture(scope="module")
def client(house: Any, noting: Noting) -> Iterator[Client]:
    key = house.one.headers["authorization"].removeprefix("Bearer ")
    with Client(house.url, key, transport=noting) as made:
        yield made


def work(house: Any) -> None:
    given = (house.service.catalog, house.service.settings, "host/x/1/1/1", threading.Event())
    while export_once(*given) or rewrite_once(*given):
        pass


def test_manifests_and_their_aliases(client: Client, house: Any, finished: dict[str, Any]) -> None:
    name = finished["summary"]["manifest"]
    assert client.manifests.set_alias("client", name, version=0, note="ours")["version"] == 1
    assert client.manifests.get("client") == client.manifest(name)
    assert client.manifests.alias("client")["manifest"] == name
    assert [move["note"] for move in client.manifests.moves("client")] == ["ours"]
    assert "client" in {alias["name"] for alias in client.manifests.aliases()}
    with pytest.raises(ConflictError):
        client.manifests.set_alias("client", name, version=0)
    assert name in {row["id"] for row in client.manifests.list(run=finished["id"])}
    assert client.manifests.lineage("client")[0]["id"] == name
    assert client.manifests.diff("client", name)["rows_dropped"] == 0
    digest = client.manifests.get(name)["shards"][0]["digest"]
    assert client.manifests.presigned([digest])[0]["digest"] == digest
    asked = client.manifests.compact("client")
    work(house)
    assert client.operations.wait(asked, timeout_s=10)["state"] == "succeeded"
    assert client.operations.rewrite(asked["id"])["manifest"] == name
    client.manifests.set_alias("gone", name, version=0)
    with pytest.raises(ConflictError):
        client.manifests.forget_alias("gone", version=7)
    client.manifests.forget_alias("gone", version=client.manifests.alias("gone")["version"])
    with pytest.raises(NotFoundError):
        client.manifests.alias("gone")


def test_plans_from_simulation_to_acknowledgement(client: Client, house: Any, finished: dict[str, Any]) -> None:
    name = finished["summary"]["manifest"]
    settings = {"curriculum": "adaptive", "num_epochs": 3, "global_batch_size": 8, "seed": 201}
    plan = client.plans.create(name, **settings)["id"]
    assert client.plans.get(plan)["id"] == plan and plan in {row["id"] for row in client.plans.list()}
    assert client.plans.epoch(plan, 0)["num_batches"] > 0 and client.plans.blocks(plan, 0)["position"][0] == 0
    assert client.plans.simulate(plan, bytes_per_s=1e6, rows_per_s=1e5)["fetches"] > 0
    lease = client.plans.lease(plan, 0, group="client")["lease"]
    assert client.plans.heartbeat(plan, 0, lease, group="client")["leased"] == 1
    client.plans.release(plan, 0, lease, group="client")
    again = client.plans.lease(plan, 0, group="client")["lease"]
    with pytest.raises(LeaseLostError):
        client.plans.ack(plan, 0, lease, group="client")
    assert client.plans.ack(plan, 0, again, group="client")["acked"] == 1
    assert client.plans.reading(plan, 0, group="client")["acked"] == 1
    assert len(client.plans.report(plan, 0, Losses(easy=1.0))["entries"]) == 2
    assert len(client.plans.journal(plan)["entries"]) == 2
    asked = client.plans.pack(plan, 1)
    work(house)
    assert client.operations.wait(asked)["epoch"] == 1
    other = client.plans.create(name, seed=202)["id"]
    client.plans.delete(other)
    with pytest.raises(NotFoundError):
        client.plans.get(other)


def test_a_stream_of_some_columns_brings_only_those(
    client: Client, noting: Noting, finished: Any, tmp_path: Path
) -> None:
    name, options = finished["summary"]["manifest"], {"global_batch_size": 4, "num_epochs": 1, "curriculum": "constant"}
    whole = ShardStream(client.shard_source(tmp_path / "whole"), name, **options)
    column = next(field.name for field in whole.manifest.columns if field.name not in ("sample_id", "label_before"))
    expected = [batch[column] for batch in whole]
    some = tmp_path / "some"
    for _ in range(2):
        one = ShardStream(client.shard_source(some), name, columns=[column], **options)
        assert [batch[column] for batch in one] == expected
        assert next(batch.schema.names for batch in one) == [column, "difficulty"]
    files = sorted((some / "projections").rglob("*.arrow"))
    shards = [info for info in whole.manifest.shards if sum(info.live)]
    assert len(files) == len(shards) and not (some / "shards").exists()
    assert sum(path.stat().st_size for path in files) < sum(info.bytes for info in shards)
    raw = bytearray(files[0].read_bytes())
    raw[len(raw) // 2] ^= 1
    files[0].write_bytes(raw)
    again = ShardStream(client.shard_source(some), name, columns=[column], **options)
    assert [batch[column] for batch in again] == expected, "a damaged copy is brought again"
    full = ShardStream(client.shard_source(tmp_path / "whole"), name, columns=[column], **options)
    assert [batch[column] for batch in full] == expected
    assert not (tmp_path / "whole" / "projections").exists(), "whole shards that are here serve"
    with pytest.raises(RequestError, match="no column 'nowhere'"):
        list(ShardStream(client.shard_source(some), name, columns=["nowhere"], **options))


def test_jobs_and_their_feedback(client: Client, finished: dict[str, Any]) -> None:
    job = client.jobs.create(manifest=finished["summary"]["manifest"], mode="external", name="ours")
    assert client.jobs.get(job["id"])["name"] == "ours" and job["id"] in {row["id"] for row in client.jobs.list()}
    table = pa.table({"sample_id": [b"0" * 16], "epoch": [0], "step": [1], "loss": [0.5]})
    assert client.feedback(job, table) == 1 and client.feedback(job, table) == 1
    assert client.jobs.report(job, 0, {"easy": 0.5}) and not client.jobs.report(job, 0, Losses(easy=0.5))
    assert client.jobs.reported(job)["rows"] == 1
    assert client.jobs.cancel(job)["state"] == "cancelled"
    client.jobs.delete(job)
    with pytest.raises(NotFoundError):
        client.jobs.get(job["id"])


def test_exports_are_downloaded(client: Client, house: Any, finished: dict[str, Any], tmp_path: Path) -> None:
    export = client.exports.create(finished["summary"]["manifest"], "jsonl")
    work(house)
    done = client.operations.wait(export)
    [path] = client.exports.download(done, tmp_path / "out")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done["files"][0]["sha256"]
    assert len(path.read_text().splitlines()) == done["rows"]
    assert export["id"] in {row["id"] for row in client.exports.list()}
    assert export["id"] in {row["id"] for row in client.operations.list(kind="export")}
    with pytest.raises(ConflictError):
        client.operations.cancel(export)
    client.exports.delete(export)
    with pytest.raises(NotFoundError):
        client.exports.get(export)


def test_reviews_from_claim_to_a_trusted_sample(client: Client, finished: dict[str, Any]) -> None:
    queue = client.reviews.open(finished["id"], budget=4, seed=301)["id"]
    assert client.reviews.get(queue)["id"] == queue and queue in {row["id"] for row in client.reviews.list()}
    first, second, third = client.reviews.claim(queue, 3)
    answered = client.reviews.answer(first, "keep", note="fine")
    assert answered["id"] == first["id"] and client.reviews.item(first["id"])["id"] == first["id"]
    client.reviews.skip(second)
    client.reviews.release(third)
    with pytest.raises(LeaseLostError):
        client.reviews.release(third)
    assert len(list(client.reviews.items(queue))) == 4
    assert client.reviews.apply(queue)["manifest"].startswith("man_")
    assert client.reviews.trusted(queue)[:4] == b"PAR1"


def test_policies(client: Client, house: Any, finished: dict[str, Any]) -> None:
    scorecard = {"promise": {"basis": "audited", "false_drop": 0.0, "max_false_drop": 0.05}}
    about = {"task": "text", "run": finished["id"], "recipe_digest": "d", "path": "policies/client", "sha256": "0" * 64}
    house.service.store.write_bytes("policies/client/judge.safetensors", b"weights")
    house.service.catalog.policies.record(house.tenant, "client", "judge_c", **about, scorecard=scorecard)
    assert "client" in {row["name"] for row in client.policies.list()} and client.policies.get("client")["newest"] == 1
    assert [row["number"] for row in client.policies.versions("client")] == [1]
    assert client.policies.version("client", 1)["policy"] == "judge_c"
    assert client.policies.weights("client", 1) == b"weights"
    assert client.policies.alias("client", "candidate")["version"] == 0
    assert client.policies.promote("client", "candidate", 1, version=0)["number"] == 1
    assert client.policies.roll_back("client", "candidate", version=1)["number"] is None
    assert [move["kind"] for move in client.policies.moves("client")] == ["rollback", "move"]


def test_datasets(client: Client, house: Any, send: Any, parquet: bytes) -> None:
    made = client.create_dataset(send(house.one, parquet), name="client's")["id"]
    assert client.datasets.get(made)["name"] == "client's" and made in {row["id"] for row in client.datasets.list()}
    assert client.datasets.schema(made) and client.datasets.rows(made)
    assert client.datasets.statistics(made)
    assert client.datasets.add_version(made, send(house.one, b'{"text": "a"}\n', "more.jsonl"))["rows"] == 1
    assert [row["version"] for row in client.datasets.versions(made)] == [2, 1]
    assert client.datasets.version(made, 2)["state"] == "ready"
    with pytest.raises(InputError, match=r"version 3 of dataset ds_.+ was rejected"):
        client.datasets.add_version(made, send(house.one, b"PAR1 not really", "a.parquet"))
    run = client.submit(made, "text")
    assert (run["dataset_version"], client.submit(made, "text", dataset_version=1)["dataset_version"]) == (2, 1)
    with pytest.raises(ConflictError, match="not fetched from the web"):
        client.datasets.check_origin(made)
    client.datasets.delete(made)
    with pytest.raises(NotFoundError):
        client.datasets.get(made)


def test_recipes(client: Client, dataset: dict[str, Any]) -> None:
    kept = client.recipes.create("text", name="client's")
    assert client.recipes.get(kept["id"])["name"] == "client's"
    assert [row["id"] for row in client.recipes.list()].count(kept["id"]) == 2, "the preset it is of, and itself"
    assert client.check_recipe(kept["id"])["digest"] == kept["digest"]
    assert client.recipes.dry_run(dataset, kept["id"], rows=20)["rows"] == 20


def test_keys_and_webhooks(client: Client, house: Any) -> None:
    made = client.keys.create("pull", ["read"])
    assert made["secret"] and made["id"] in {row["id"] for row in client.keys.list()}
    seen = client.keys.get(made["id"])
    assert (seen["name"], seen["scopes"], "secret" in seen) == ("pull", ["read"], False)
    with Client(house.url, made["secret"]) as puller:
        assert list(puller.manifests.list(limit=1)) is not None
        client.keys.revoke(made["id"])
        with pytest.raises(RequestError, match="revoked"):
            list(puller.manifests.list(limit=1))
    assert client.webhooks.list() == () or client.webhooks.list()[0]["id"]
    with pytest.raises(NotFoundError):
        client.webhooks.get("whk_nobody")
    with pytest.raises(NotFoundError):
        list(client.webhooks.deliveries("whk_nobody"))
    with pytest.raises(NotFoundError):
        client.webhooks.delete("whk_nobody")
    with pytest.raises(RequestError):
        client.webhooks.create("file:///etc/passwd")


ABOUT = (
    "datasets", "manifests", "aliases", "epoch-plans", "training-jobs", "review", "policies", "exports", "rewrites",
    "operations", "shards:presign", "keys", "webhooks", "recipes", "recipes:validate", "recipes:dry-run",
)  # fmt: skip
LEFT = {
    "POST /v1/datasets",  # `Client.create_dataset`, which tests/journeys asks
    "GET /v1/epoch-plans/{plan_id}/epochs/{epoch}/pack",  # ShardStream's
    "GET /v1/exports/{export_id}",
    "GET /v1/rewrites",  # `operations.list(kind="rewrite")`
    "POST /v1/rewrites/{rewrite_id}:cancel",  # `operations.cancel`
}


def test_no_address_is_left_out(house: Any, noting: Noting) -> None:
    """Of the resources this file is about, after all of it was asked: a new address needs a method, or a line above."""
    document = house.one.get("/openapi.json").json()["paths"]
    left = set()
    for path, operations in document.items():
        shape = re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/:]+", re.escape(path)) + "$")
        for method in set(operations) & {"get", "put", "post", "delete"}:
            told = any(asked == method.upper() and shape.match(place) for asked, place in noting.asked)
            if not told and path.removeprefix("/v1/").split("/")[0] in ABOUT:
                left.add(f"{method.upper()} {path}")
    assert left <= LEFT

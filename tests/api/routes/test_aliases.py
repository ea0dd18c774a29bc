"""Aliases over REST: set under If-Match by who may promote, kept in a history, good wherever a manifest is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.catalog import Scope
from curator.client.rest import Client
from curator.client.shard_stream import ShardStream
from curator.errors import NotFoundError


@pytest.fixture(scope="module")
def manifest(finished: dict[str, Any]) -> str:
    return str(finished["summary"]["manifest"])


@pytest.fixture(scope="module")
def child(house: Any, finished: dict[str, Any]) -> str:
    """The manifest with one row dropped; `latest` goes on to it."""
    keep = house.one.get(f"/v1/runs/{finished['id']}/decisions?action=keep&limit=1").json()["items"][0]
    change = {"sample_id": keep["sample_id"], "action": "drop"}
    made = house.one.post(f"/v1/runs/{finished['id']}/decisions:override", json={"changes": [change]})
    assert made.status_code in (200, 201), made.text
    return str(made.json()["manifest"])


def put(client: Any, name: str, manifest: str, version: str | None = '"0"', **more: Any) -> Any:
    headers = {} if version is None else {"If-Match": version}
    return client.put(f"/v1/aliases/{name}", json={"manifest": manifest, **more}, headers=headers)


def test_an_alias_is_set_moved_and_remembered(house: Any, manifest: str, child: str) -> None:
    first = put(house.one, "prod", manifest, note="the first")
    assert (first.status_code, first.json()["manifest"], first.headers["etag"]) == (200, manifest, '"1"')
    assert put(house.one, "prod", child, version=None).status_code == 428
    stale = put(house.one, "prod", child)
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    assert put(house.one, "prod", child, '"1"').json()["version"] == 2
    told = house.one.get("/v1/aliases/prod")
    assert told.json()["manifest"] == child
    assert house.one.get("/v1/aliases/prod", headers={"If-None-Match": told.headers["etag"]}).status_code == 304
    moves = house.one.get("/v1/aliases/prod/moves").json()["items"]
    assert [(move["from_manifest"], move["to_manifest"], move["note"]) for move in moves] == [
        (manifest, child, ""), (None, manifest, "the first"),
    ]  # fmt: skip
    assert all(move["by"] for move in moves)
    assert "prod" in {item["name"] for item in house.one.get("/v1/aliases").json()["items"]}


def test_latest_follows_the_run_and_its_overrides_and_nobody_sets_it(
    house: Any, finished: dict[str, Any], dataset: dict[str, Any], manifest: str, child: str
) -> None:
    for name in ("latest", f"latest@{dataset['id']}"):
        answer = house.one.get(f"/v1/aliases/{name}/moves")
        assert answer.status_code == 200, answer.text
        moves = answer.json()["items"]
        by_manifest = {move["to_manifest"]: move["by"] for move in moves}
        assert by_manifest[manifest] == finished["id"] and child in by_manifest
        answer = put(house.one, name, manifest, version="*")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), answer.text


def test_a_manifest_is_found_by_its_alias(house: Any, manifest: str) -> None:
    put(house.one, "found", manifest)
    by_id, by_name = (house.one.get(f"/v1/manifests/{name}") for name in (manifest, "found"))
    assert by_name.content == by_id.content and by_name.headers["etag"] == by_id.headers["etag"]
    assert by_name.headers["content-location"] == f"/v1/manifests/{manifest}"
    assert "immutable" in by_id.headers["cache-control"] and "immutable" not in by_name.headers["cache-control"]
    assert house.one.get("/v1/manifests/found", headers={"If-None-Match": f'"{manifest}"'}).status_code == 304
    plan = house.one.post("/v1/epoch-plans", json={"manifest": "found", "global_batch_size": 8}).json()
    assert plan["manifest"] == manifest, "a plan is of the manifest itself"
    assert house.one.get("/v1/manifests/found/lineage").json()["items"][0]["id"] == manifest
    assert house.one.get("/v1/manifests/found/diff?base=found").status_code == 200


def test_moving_needs_the_scope_of_promotion(house: Any, manifest: str) -> None:
    writer, promoter = house.client([Scope.READ, Scope.WRITE]), house.client([Scope.PROMOTE])
    assert put(writer, "scoped", manifest).status_code == 403
    assert put(promoter, "scoped", manifest).status_code == 200


@pytest.mark.parametrize("name", ["man_x", "a b", "-x", "a" * 101])
def test_names_that_are_none(house: Any, manifest: str, name: str) -> None:
    assert put(house.one, name, manifest).status_code == 422


def test_what_is_not_there(house: Any, manifest: str) -> None:
    for path in ("/v1/aliases/nobody", "/v1/aliases/nobody/moves", "/v1/manifests/nobody"):
        assert house.one.get(path).status_code == 404
    assert put(house.one, "fresh", "man_nobody").status_code == 404
    put(house.one, "mine", manifest)
    assert house.two.get("/v1/manifests/mine").status_code == 404
    assert put(house.two, "mine", manifest).status_code == 404, "the manifest is not theirs"


def test_a_stream_follows_an_alias_at_an_epochs_boundary(house: Any, manifest: str, child: str, tmp_path: Path) -> None:
    put(house.one, "stream", manifest)
    key = house.one.headers["authorization"].removeprefix("Bearer ")
    with Client(house.url, key) as client:
        options = {"global_batch_size": 8, "columns": ["id"], "cache_dir": tmp_path, "num_epochs": 3}
        stream = ShardStream(client, "stream", **options)
        assert stream.manifest.id == manifest
        rows = iter(stream.iter_batches())
        next(rows)
        state = stream.state_dict()
        assert put(house.one, "stream", child, '"1"').status_code == 200
        assert stream.manifest.id == manifest and not stream.adopt(manifest)
        assert list(rows), "the epoch goes on with what it began with"
        assert stream.adopt("stream") and not stream.adopt("stream")
        stream.set_epoch(1)
        assert stream.manifest.id == child and stream.plan.manifest == child
        assert len(list(stream.iter_batches())) == len(stream)
        resumed = ShardStream(client, "stream", **options)
        assert resumed.manifest.id == child
        resumed.load_state_dict(state)
        assert resumed.manifest.id == manifest and resumed.state_dict() == state
        with pytest.raises(NotFoundError, match="nobody"):
            ShardStream(client, "nobody", **options)

"""What goes on when something the service leans on is gone: Ray, the disk, the database."""

from __future__ import annotations

import errno
import os
from typing import Any

import httpx
import pytest

from api.app import create_app
from curator.catalog import Catalog
from pipelines.execute import execute
from pipelines.runner import Runner

NOWHERE = "127.0.0.1:1"


def test_without_ray_the_service_is_ready_and_shards_are_pulled(
    house: Any, finished: dict[str, Any], serve: Any
) -> None:
    settings = house.service.settings.model_copy(update={"ray_address": NOWHERE})
    manifest = house.one.get(f"/v1/manifests/{finished['summary']['manifest']}").json()
    digest = manifest["shards"][0]["digest"]
    for url in serve(create_app(settings, require_key=True)):
        with httpx.Client(base_url=url, headers=dict(house.one.headers)) as client:
            ready = client.get("/healthz/ready")
            assert (ready.status_code, ready.json()["status"], ready.json()["ray"]) == (200, "degraded", "away")
            pulled = client.get(f"/v1/shards/{digest}")
            assert pulled.status_code == 200 and len(pulled.content) == manifest["shards"][0]["bytes"]
            assert client.get(f"/v1/runs/{finished['id']}").json() == finished


def test_a_full_disk_fails_the_run_resumably_and_the_service_lives(
    house: Any, finished: dict[str, Any], queued: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from the first verdicts on, for whoever writes under the run."""
    settings = house.service.settings
    with Catalog.open(settings.database_url) as catalog:
        runner = Runner(settings, catalog, execute)
        with monkeypatch.context() as patch:
            replace = os.replace

            def full(source: str, target: str) -> None:
                if target.endswith("verdicts.arrow"):
                    raise OSError(errno.ENOSPC, "No space left on device")
                replace(source, target)

            patch.setattr(os, "replace", full)
            while house.one.get(f"/v1/runs/{queued['id']}").json()["state"] == "queued":
                assert runner.run_once()
            run = house.one.get(f"/v1/runs/{queued['id']}").json()
            assert (run["state"], run["error"]["code"], run["error"]["resumable"]) == ("failed", "disk_full", True)
            assert house.one.get("/healthz/ready").status_code == 200
            assert house.one.get(f"/v1/runs/{finished['id']}/decisions?limit=2").status_code == 200
        committed = catalog.outputs.of_step(queued["id"], "score")
        assert committed
        assert house.one.post(f"/v1/runs/{queued['id']}:resume").status_code == 202
        while house.one.get(f"/v1/runs/{queued['id']}").json()["state"] == "queued":
            assert runner.run_once()
        run = house.one.get(f"/v1/runs/{queued['id']}").json()
        assert (run["state"], run["attempt"]) == ("succeeded", 2)
        assert run["summary"]["manifest"] == finished["summary"]["manifest"]
        assert catalog.outputs.of_step(queued["id"], "score") == committed

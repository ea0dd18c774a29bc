"""Rewrites by a runner: done once, whoever began them; latest goes on to what a compaction made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.catalog import LOCAL_TENANT, Catalog, JobState
from curator.catalog.shelf import shelve
from curator.client.packing import Pack
from curator.epochs.adaptive import Losses
from curator.epochs.journal import Journal
from curator.epochs.plan import EpochPlan
from curator.settings import Settings
from curator.shards import Manifest
from curator.storage import Store
from pipelines.queued import WorkLease
from pipelines.rewriting import rewrite_once
from tests.curator.shards.dataset import write_dataset


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path / "root"))


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    with Catalog.open(settings.database_url) as opened:
        yield opened


@pytest.fixture
def manifest(catalog: Catalog, settings: Settings) -> Manifest:
    store = Store.open(settings.root)
    made = write_dataset(store).manifest
    shelve(catalog.manifests, store, LOCAL_TENANT, made, run="run_1")
    return made


def once(catalog: Catalog, settings: Settings, shutdown: threading.Event | None = None) -> bool:
    return rewrite_once(catalog, settings, "host/x/1/1/1", shutdown or threading.Event())


def test_latest_goes_on_to_the_compacted_child(
    catalog: Catalog, settings: Settings, manifest: Manifest, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    from curator.catalog.aliases import run_succeeded

    with catalog.database.write() as connection:
        run_succeeded(connection, "local", "run_1", manifest.id, None)
    rewrite = catalog.rewrites.create("local", "compact", manifest.id)
    assert once(catalog, settings) and not once(catalog, settings)
    assert {line.get("rewrite") for line in log_lines()} == {rewrite.id}
    done = catalog.rewrites.get("local", rewrite.id)
    assert done.state == JobState.SUCCEEDED and done.result is not None, done.error
    assert catalog.aliases.get("local", "latest").manifest == done.result["manifest"]
    child = catalog.manifests.get("local", done.result["manifest"])
    assert (child.parent, child.run) == (manifest.id, "run_1")


def test_an_adaptive_epoch_is_packed_under_the_ratios_decided(
    catalog: Catalog, settings: Settings, manifest: Manifest
) -> None:
    plan = EpochPlan.of(manifest, curriculum="adaptive", num_epochs=3, global_batch_size=10)
    row = catalog.plans.create("local", manifest.id, plan.model_dump(mode="json"), digest=plan.id)
    journal = Journal.begin(plan).after(plan, Losses(easy=1.0, medium=1.0, hard=1.0))
    for epoch, entry in enumerate(journal.entries):
        losses = None if entry.losses is None else entry.losses.model_dump()
        catalog.plans.decide("local", row.id, epoch, entry.ratios.model_dump(), losses)
    for epoch in (1, 2):
        catalog.rewrites.create("local", "pack", manifest.id, plan=row.id, epoch=epoch)
        assert once(catalog, settings)
    late, done = catalog.rewrites.page("local").items
    assert done.state == JobState.SUCCEEDED
    assert Pack.load(Store.open(settings.root), journal.on(plan), 1).manifest == (done.result or {})["manifest"]
    assert late.state == JobState.FAILED and "not decided yet" in (late.error or {})["message"]
    packed = catalog.manifests.get("local", (done.result or {})["manifest"])
    assert (packed.parent, packed.run) == (manifest.id, "run_1")  # so it goes with the run, and does not hold it


def test_a_stop_gives_it_back_and_a_lost_one_is_done_again(
    catalog: Catalog, settings: Settings, manifest: Manifest
) -> None:
    rewrite, stopped = catalog.rewrites.create("local", "compact", manifest.id), threading.Event()
    stopped.set()
    assert once(catalog, settings, stopped)
    assert catalog.rewrites.get("local", rewrite.id).state == JobState.QUEUED
    claimed = catalog.rewrites.claim("host/dead/1/1/1", 60.0)
    assert claimed is not None
    catalog.rewrites.reap(3, is_dead=lambda owner: True)
    assert once(catalog, settings)
    done = catalog.rewrites.get("local", rewrite.id)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)


def test_a_cancelled_rewrite_moves_no_name(
    catalog: Catalog, settings: Settings, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite, real = catalog.rewrites.create("local", "compact", manifest.id), WorkLease.heartbeat

    def cancelled(lease: WorkLease) -> None:  # type: ignore[type-arg]
        catalog.rewrites.cancel("local", rewrite.id)
        real(lease)

    monkeypatch.setattr(WorkLease, "heartbeat", cancelled)
    assert once(catalog, settings)
    assert catalog.rewrites.get("local", rewrite.id).state == JobState.CANCELLED
    assert catalog.aliases.page("local").items == ()

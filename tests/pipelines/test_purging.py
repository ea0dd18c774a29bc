"""Bytes go once nobody needs them, whenever the purge is killed; shards that another manifest lists stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from curator.catalog import Catalog, JobState, Purging
from curator.errors import ConflictError, NotFoundError
from curator.run import RunRequest, RunSummary
from curator.settings import Settings
from curator.shards import Manifest, ShardReader
from curator.shards.layout import manifest_name
from curator.storage import Store
from pipelines.execute import execute
from pipelines.here import run_here
from pipelines.purging import purge_due, purge_export, purge_tenant, upload_of, would_go
from pipelines.registering import shelving
from pipelines.tidying import sweep_forgotten
from tests.pipelines.test_execute import text_recipe

DAY_S = 86400.0


class Killed(BaseException):
    """As good as kill -9 for what comes after it."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path / "root"), retention_deleted_days=0.0)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    with Catalog.open(settings.database_url) as opened:
        yield opened


def curated(catalog: Catalog, settings: Settings, texts: Path, **changes: Any) -> RunSummary:
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe(**changes))
    return run_here(catalog, settings, shelving(catalog, partial(execute)), request=request)


def aged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file looks a month old."""
    monkeypatch.setattr(Store, "touched_s", lambda store, name: os.stat(store.path(name)).st_mtime - 30 * DAY_S)


def readable(store: Store, manifest: str) -> int:
    reader, found = ShardReader(store), Manifest.load(store, manifest)
    return sum(batch.num_rows for batch in reader.iter_batches(found))


def test_a_run_goes_with_its_folder_its_manifest_and_the_shards_nobody_else_lists(
    catalog: Catalog, settings: Settings, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(settings.root)
    first = curated(catalog, settings, texts)
    lenient = curated(catalog, settings, texts, process=[{"length": {"min_chars": 1}}])
    twin = curated(catalog, settings, texts, process=[{"length": {"min_chars": 2}}])  # other recipe, equal shards
    rows = readable(store, twin.manifest)
    catalog.purging.delete_run("local", first.run)
    catalog.purging.delete_run("local", lenient.run)
    assert len(list(would_go(catalog, settings))) == 2
    purge_due(catalog, settings)
    assert list(would_go(catalog, settings)) == []
    assert not os.path.exists(store.path(f"runs/{first.run}")) and store.list(f"runs/{twin.run}")
    assert store.list("manifests") == [manifest_name(twin.manifest)]
    before = len(store.list("shards"))
    aged(store, monkeypatch)
    sweep_forgotten(catalog, settings)
    assert 0 < len(store.list("shards")) < before and readable(store, twin.manifest) == rows
    assert [line.action for line in catalog.audit.page("local").items] == ["retention: purge run"] * 2


@pytest.mark.parametrize("moment", range(6))
def test_a_purge_that_is_killed_is_gone_on_with(
    catalog: Catalog, settings: Settings, texts: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """At its files, between files and rows, at the manifest's file, in the transaction, after it."""
    store = Store.open(settings.root)
    gone = curated(catalog, settings, texts)
    kept = curated(catalog, settings, texts, process=[])
    catalog.purging.delete_run("local", gone.run)
    calls, delete, forget = [0], Store.delete, Purging.forget_run

    def dying(store: Store, name: str) -> None:
        calls[0] += 1
        if (moment, calls[0]) in ((0, 1), (1, 4)):
            raise Killed
        if moment == 3 and name.startswith("manifests"):
            raise Killed
        delete(store, name)
        if moment == 4 and name.startswith("manifests"):
            raise Killed

    def forgetting(purging: Purging, *given: Any) -> None:
        if moment == 2:
            raise Killed
        forget(purging, *given)
        if moment == 5:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", dying)
        patch.setattr(Purging, "forget_run", forgetting)
        with pytest.raises(Killed):
            purge_due(catalog, settings)
    with pytest.raises(NotFoundError):
        catalog.runs.get("local", gone.run)
    purge_due(catalog, settings)
    assert catalog.purging.due(0.0) == [] and store.list("manifests") == [manifest_name(kept.manifest)]
    assert not os.path.exists(store.path(f"runs/{gone.run}")) and readable(store, kept.manifest)


def test_a_run_that_writes_the_shards_anew_while_they_are_purged(
    catalog: Catalog, settings: Settings, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews what is old, so the sweep spares it; its manifest lists what is there."""
    store = Store.open(settings.root)
    gone = curated(catalog, settings, texts)
    curated(catalog, settings, texts, process=[])
    catalog.purging.delete_run("local", gone.run)
    renew, touched, renewed = Store.renew, Store.touched_s, set()

    def renewing(store: Store, name: str, size: int) -> bool:
        renewed.add(name)
        return renew(store, name, size)

    def judged(store: Store, name: str) -> float | None:
        at = touched(store, name)
        return at if at is None or name in renewed else at - 30 * DAY_S

    monkeypatch.setattr(Store, "renew", renewing)
    monkeypatch.setattr(Store, "touched_s", judged)
    save = Manifest.save

    def purged_before(manifest: Manifest, store: Store) -> str:
        purge_due(catalog, settings)
        sweep_forgotten(catalog, settings)
        return save(manifest, store)

    monkeypatch.setattr(Manifest, "save", purged_before)
    again = curated(catalog, settings, texts)
    assert again.manifest == gone.manifest and readable(store, again.manifest)
    assert catalog.manifests.get("local", again.manifest).run == again.run


def test_what_is_too_old_goes_unless_it_is_held(catalog: Catalog, settings: Settings, texts: Path) -> None:
    first, second = curated(catalog, settings, texts), curated(catalog, settings, texts, process=[])
    third = curated(catalog, settings, texts, process=[{"length": {"min_chars": 1}}])
    catalog.aliases.set("local", "prod", second.manifest, by="me")
    purge_due(catalog, settings)  # off by default
    assert len(catalog.runs.page("local").items) == 3
    old = settings.model_copy(update={"retention_run_days": 1e-9})
    told = {name: why for _, name, why in would_go(catalog, old)}
    assert told == {
        first.run: "too old: would be deleted",
        second.run: "too old, but held by alias 'prod'",
        third.run: "too old, but held by alias 'latest'",
    }
    assert len(catalog.runs.page("local").items) == 3  # only told
    purge_due(catalog, old)
    assert {run.id for run in catalog.runs.page("local").items} == {second.run, third.run}


def test_the_uploads_of_a_deleted_dataset_go_when_no_run_reads_them(catalog: Catalog, settings: Settings) -> None:
    store = Store.open(settings.root)
    upload = catalog.uploads.create("local", "a.csv", 5, "ab", part_bytes=5)
    place = store.path(f"uploads/{upload.id}/a.csv")
    store.write_bytes(f"uploads/{upload.id}/a.csv", b"12345")
    assert upload_of(store, place) == upload.id and upload_of(store, "/elsewhere/a.csv") is None
    one, two = (catalog.datasets.create("local", name, "text", {}, [place])[0] for name in "ab")
    run = catalog.runs.create("local", RunRequest(inputs=(place,), recipe={"task": "text"}, dataset=one.id))
    catalog.datasets.delete("local", one.id)
    purge_due(catalog, settings)
    assert store.list("uploads")  # the run may go on
    catalog.runs.request_stop("local", run.id, "cancel")
    purge_due(catalog, settings)
    assert store.list("uploads")  # the other dataset has it too
    catalog.datasets.delete("local", two.id)
    purge_due(catalog, settings)
    assert store.list("uploads") == [] and catalog.uploads.bytes_in_use("local") == 0
    assert catalog.purging.unused_inputs(0.0) == []


def test_an_export_goes_with_its_files(catalog: Catalog, settings: Settings) -> None:
    catalog.manifests.record("local", "man_1", path="man_1", shards=[])
    store, export = Store.open(settings.root), catalog.exports.create("local", "man_1", "jsonl")
    store.write_bytes(f"exports/{export.id}/00001/a.jsonl", b"{}")
    old = settings.model_copy(update={"retention_export_days": 1e-9})
    with pytest.raises(ConflictError, match="cancel it first"):
        purge_export(catalog, store, "local", export.id)
    purge_due(catalog, old)
    assert store.list("exports")
    catalog.exports.cancel("local", export.id)
    assert [name for _, name, _ in would_go(catalog, old)] == [export.id]
    purge_due(catalog, old)
    assert store.list("exports") == [] and not catalog.exports.page("local").items


def test_a_training_job_goes_with_its_checkpoints_once_it_has_ended(catalog: Catalog, settings: Settings) -> None:
    store, old = Store.open(settings.root), settings.model_copy(update={"retention_job_days": 1e-9})
    job = catalog.jobs.create("local", "external", plan=None, spec={})
    store.write_bytes(f"training/{job.id}/step-8/model.safetensors", b"weights")
    purge_due(catalog, old)
    assert store.list("training")  # it goes on
    catalog.jobs.move("local", job.id, JobState.SUCCEEDED)
    purge_due(catalog, settings)  # off by default
    young = settings.model_copy(update={"retention_job_days": 1.0})
    assert list(would_go(catalog, young)) == []
    told = [("local", job.id, "too old: would be purged with its checkpoints and feedback")]
    assert list(would_go(catalog, old)) == told and store.list("training")
    purge_due(catalog, old)
    assert store.list("training") == [] and not catalog.jobs.page("local").items
    assert [line.action for line in catalog.audit.page("local").items] == ["retention: purge training job"]


def uploaded(catalog: Catalog, store: Store, name: str) -> tuple[str, str]:
    """(id, place) of an upload that is complete."""
    upload = catalog.uploads.create("local", name, 5, "ab", part_bytes=5)
    catalog.uploads.record_part("local", upload.id, 0, 5, "cd")
    catalog.uploads.complete("local", upload.id, "ab")
    store.write_bytes(f"uploads/{upload.id}/{name}", b"12345")
    return upload.id, store.path(f"uploads/{upload.id}/{name}")


def test_an_upload_goes_that_no_dataset_or_run_names(catalog: Catalog, settings: Settings) -> None:
    store, old = Store.open(settings.root), settings.model_copy(update={"retention_upload_days": 1e-9})
    unused, (in_set, rows), (in_run, truth), (of_deleted, gone) = (
        uploaded(catalog, store, name) for name in ("unused.csv", "rows.csv", "truth.csv", "gone.csv")
    )
    unfinished = catalog.uploads.create("local", "open.csv", 5, "ab", part_bytes=5)
    catalog.datasets.create("local", "rows", "text", {}, [rows])
    deleted, _ = catalog.datasets.create("local", "gone", "text", {}, [gone])
    catalog.datasets.delete("local", deleted.id)
    run = catalog.runs.create("local", RunRequest(inputs=("x.csv",), recipe={"task": "text"}, trusted=truth))
    catalog.runs.request_stop("local", run.id, "cancel")

    grace = old.model_copy(update={"retention_deleted_days": 1.0})
    purge_due(catalog, settings.model_copy(update={"retention_deleted_days": 1.0}))  # off by default
    told = [("local", unused[0], "too old and named by no dataset or run: would be purged")]
    assert list(would_go(catalog, grace)) == told
    purge_due(catalog, grace)
    left = {upload.id for upload in catalog.uploads.page("local").items}
    assert left == {in_set, in_run, of_deleted, unfinished.id}
    assert {name.split("/")[1] for name in store.list("uploads")} == {in_set, in_run, of_deleted}

    catalog.purging.delete_run("local", run.id)
    purge_due(catalog, grace)
    assert {upload.id for upload in catalog.uploads.page("local").items} == left - {in_run}


def test_a_tenant_goes_with_all_its_files_and_no_one_elses(catalog: Catalog, settings: Settings, texts: Path) -> None:
    store, other = Store.open(settings.root), catalog.keys.tenant("other").id
    mine = curated(catalog, settings, texts)
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe())
    theirs = run_here(catalog, settings, shelving(catalog, partial(execute)), request=request, tenant=other)
    own = RunRequest(inputs=(str(texts),), recipe=text_recipe(process=[]))
    alone = run_here(catalog, settings, shelving(catalog, partial(execute)), request=own, tenant=other)
    assert theirs.manifest == mine.manifest != alone.manifest
    for name, manifest in (("a", alone.manifest), ("b", mine.manifest)):
        store.write_bytes(f"packs/epd_{name}/000000.json", f'{{"manifest": "{manifest}"}}'.encode())
        store.write_bytes(f"feedback/snapshots/{name}.arrow", b"losses")
    queued = catalog.runs.create(other, request.model_copy(update={"feedback": "feedback/snapshots/a.arrow"}))
    for tenant in ("local", other):
        both = request.model_copy(update={"feedback": "feedback/snapshots/b.arrow"})
        catalog.runs.request_stop(tenant, catalog.runs.create(tenant, both).id, "cancel")
    with pytest.raises(ConflictError, match=queued.id):
        purge_tenant(catalog, settings, other)
    catalog.runs.request_stop(other, queued.id, "cancel")
    told = purge_tenant(catalog, settings, other)
    assert (told["runs"], told["manifests"]) == (4, 2)
    assert {name.split("/")[1] for name in store.list("runs")} == {mine.run}
    assert store.list("packs") == ["packs/epd_b/000000.json"]
    assert store.list("feedback") == ["feedback/snapshots/b.arrow"]
    assert store.list("manifests") == [manifest_name(mine.manifest)] and readable(store, mine.manifest)

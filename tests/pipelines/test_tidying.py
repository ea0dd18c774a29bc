"""Once an hour what nobody needs goes; what an unfinished run wrote is needed, however old."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, CatalogJournal
from curator.catalog.schema import uploads
from curator.errors import StoppedError
from curator.run import RunRequest, StopRequest
from curator.settings import Settings
from curator.storage import Store
from pipelines.execute import execute
from pipelines.tidying import sweep_forgotten, sweep_uploads, tidy
from tests.pipelines.test_execute import text_recipe

MONTH_S = 30 * 86400.0


@pytest.fixture(autouse=True)
def times_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "touched_s", lambda store, name: os.stat(store.path(name)).st_mtime)


class Interrupted(CatalogJournal):
    """Asks for a pause once something was written."""

    def stop_requested(self) -> StopRequest | None:
        return "pause" if self.done("write") else None


def aged(root: Path) -> set[Path]:
    shards = {path for folder in ("shards", "indexes") for path in (root / folder).rglob("*.arrow")}
    for path in shards:
        os.utime(path, (time.time() - MONTH_S,) * 2)
    return shards


@pytest.mark.parametrize("end", ["resumed", "cancelled"])
def test_shards_of_a_run_stay_while_it_may_go_on(tmp_path: Path, texts: Path, end: str) -> None:
    settings = Settings(root=str(tmp_path / "root"))
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe())
    with Catalog.open(settings.database_url) as catalog:
        claimed = catalog.runs.create_claimed("local", request, "me", 60.0)
        with pytest.raises(StoppedError):
            execute(claimed, Interrupted(catalog, claimed, lease_s=60.0), settings)
        catalog.runs.release(claimed, "paused", pause=True)
        written = aged(Path(settings.root))
        assert written
        tidy(catalog, settings)
        assert all(path.exists() for path in written)
        if end == "cancelled":
            catalog.runs.request_stop("local", claimed.id, "cancel")
            sweep_forgotten(catalog, settings)
            assert not any(path.exists() for path in written)
            return
        again = catalog.runs.claim_this("local", claimed.id, "me", 60.0)
        summary = execute(again, CatalogJournal(catalog, again, lease_s=60.0), settings)
        catalog.runs.request_stop("local", claimed.id, "cancel")  # a manifest stands for itself
        catalog.runs.release(again, "cancelled")
        everything = aged(Path(settings.root))
        sweep_forgotten(catalog, settings)
        assert all(path.exists() for path in everything) and written <= everything
        os.remove(Store.open(settings.root).path(f"manifests/{summary.manifest}.json"))
        sweep_forgotten(catalog, settings)
        assert not any(path.exists() for path in everything)


def test_a_snapshot_of_feedback_goes_once_no_run_reads_it(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path / "root"))
    store = Store.open(settings.root)
    names = [f"feedback/snapshots/{name}.arrow" for name in ("fresh", "read", "left")]
    with Catalog.open(settings.database_url) as catalog:
        for name in names:
            store.write_bytes(name, b"losses")
        for name in names[1:]:
            os.utime(store.path(name), (time.time() - MONTH_S,) * 2)
        catalog.runs.create("local", RunRequest(inputs=("a",), recipe={"task": "text"}, feedback=names[1]))
        sweep_forgotten(catalog, settings)
        assert store.list("feedback") == sorted(names[:2])


def test_an_upload_nobody_goes_on_with_goes_with_its_parts_and_its_quota(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path / "root"), upload_days=1.0)
    store = Store.open(settings.root)
    with Catalog.open(settings.database_url) as catalog:

        def opened(name: str) -> str:
            upload = catalog.uploads.create("local", name, 10, "0" * 64, part_bytes=10)
            store.write_bytes(f"uploads/{upload.id}/parts/00000", b"0123456789")
            catalog.uploads.record_part("local", upload.id, 0, 10, "0" * 64)
            return upload.id

        stale, fresh, complete = opened("stale.csv"), opened("fresh.csv"), opened("complete.csv")
        catalog.uploads.complete("local", complete, "0" * 64)
        day = sa.update(uploads).where(uploads.c.id.in_([stale, complete]))
        with catalog.database.write() as connection:
            connection.execute(day.values(updated_at=uploads.c.created_at - 2 * 86400.0))
        tidy(catalog, settings)
        assert {upload.id for upload in catalog.uploads.page("local").items} == {fresh, complete}
        assert store.list(f"uploads/{stale}") == []
        assert store.list(f"uploads/{fresh}") and store.list(f"uploads/{complete}")
        opened("another.csv")  # there is room for it again


def test_what_a_dead_server_left_of_uploads_goes_after_some_days(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path / "root"))
    store = Store.open(settings.root)
    with Catalog.open(settings.database_url) as catalog:
        known, deleted = (catalog.uploads.create("local", "a.csv", 5, "ab", part_bytes=5).id for _ in range(2))
        catalog.uploads.delete("local", deleted)
        names = [f"uploads/{upload_id}/a.csv" for upload_id in (known, deleted, "upl_never", "upl_young")]
        for name in names:
            store.write_bytes(name, b"text\n")
        for name in names[:3]:
            os.utime(store.path(name), (time.time() - MONTH_S,) * 2)
        sweep_uploads(catalog, settings)
        assert store.list("uploads") == [names[0], names[3]]
        assert sorted(os.listdir(store.path("uploads"))) == sorted([known, "upl_young"])

"""Removing for good what was deleted, or has grown too old: files first, rows last, so that a purge that was killed is
gone on with. Aliased, planned, trained-on things stay; shards go with the sweep once no manifest lists them.

Knows the store and the catalog; nothing of how runs are worked on or of HTTP.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final

from curator.catalog import Catalog, Deleted
from curator.client.packing import forget_packs
from curator.errors import ConflictError, NotFoundError, WinnowError
from curator.settings import Settings
from curator.shards.layout import manifest_name
from curator.storage import Store

__all__ = ["purge_due", "purge_export", "purge_job", "purge_tenant", "upload_of", "would_go"]

log: Final = logging.getLogger(__name__)
DAY_S: Final = 86400.0


def purge_due(catalog: Catalog, settings: Settings) -> None:
    """Deletes what the settings call too old, and purges what was deleted long enough ago. Each thing by itself: one
    that cannot go now is tried again the next time."""
    store = Store.open(settings.root)
    if settings.retention_run_days is not None:
        for tenant, run_id in catalog.purging.ended(settings.retention_run_days * DAY_S):
            _delete(catalog, tenant, run_id)
    grace_s = settings.retention_deleted_days * DAY_S
    for deleted in catalog.purging.due(grace_s):
        _guarded(f"run {deleted.run}", lambda run=deleted: _purge_run(catalog, store, run))
    for tenant, dataset in catalog.purging.unused_inputs(grace_s):
        _guarded(f"dataset {dataset}", lambda it=(tenant, dataset): _purge_uploads(catalog, store, *it))
    if settings.retention_export_days is not None:
        for tenant, export in catalog.purging.old_exports(settings.retention_export_days * DAY_S):
            _guarded(f"export {export}", lambda it=(tenant, export): purge_export(catalog, store, *it))
    if settings.retention_job_days is not None:
        for tenant, job in catalog.purging.old_jobs(settings.retention_job_days * DAY_S):
            _guarded(f"training job {job}", lambda it=(tenant, job): _purge_old_job(catalog, store, *it))
    if settings.retention_upload_days is not None:
        for tenant, upload in catalog.purging.old_uploads(settings.retention_upload_days * DAY_S):
            _guarded(f"upload {upload}", lambda it=(tenant, upload): _purge_upload(catalog, store, *it))


def would_go(catalog: Catalog, settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(tenant, id, why) of what `purge_due` would delete or purge now, and of what is too old but held: by whom."""
    if settings.retention_run_days is not None:
        for tenant, run_id in catalog.purging.ended(settings.retention_run_days * DAY_S):
            held = catalog.purging.holders(tenant, run_id, keep_latest=True)
            yield tenant, run_id, f"too old, but held by {', '.join(held)}" if held else "too old: would be deleted"
    grace_s = settings.retention_deleted_days * DAY_S
    for deleted in catalog.purging.due(grace_s):
        yield deleted.tenant, deleted.run, "deleted: would be purged"
    for tenant, dataset in catalog.purging.unused_inputs(grace_s):
        yield tenant, dataset, "deleted: its uploads would be purged"
    if settings.retention_export_days is not None:
        for tenant, export in catalog.purging.old_exports(settings.retention_export_days * DAY_S):
            yield tenant, export, "too old: would be purged"
    if settings.retention_job_days is not None:
        for tenant, job in catalog.purging.old_jobs(settings.retention_job_days * DAY_S):
            yield tenant, job, "too old: would be purged with its checkpoints and feedback"
    if settings.retention_upload_days is not None:
        for tenant, upload in catalog.purging.old_uploads(settings.retention_upload_days * DAY_S):
            yield tenant, upload, "too old and named by no dataset or run: would be purged"


def _delete(catalog: Catalog, tenant: str, run_id: str) -> None:
    try:
        catalog.purging.delete_run(tenant, run_id, keep_latest=True)
    except (ConflictError, NotFoundError) as error:
        log.debug("kept: %s", error)
        return
    _audited(catalog, tenant, "retention: delete run", run_id)


def _purge_run(catalog: Catalog, store: Store, deleted: Deleted) -> None:
    freed = store.delete_folder(f"runs/{deleted.run}")
    catalog.purging.forget_run(deleted, lambda name: _digests(store, name), lambda name: _remove(store, [name]))
    _audited(catalog, deleted.tenant, "retention: purge run", deleted.run)
    log.info("run %s was purged: %d bytes, %d manifests", deleted.run, freed, len(deleted.manifests))


def _remove(store: Store, manifests: Collection[str]) -> None:
    """The files of manifests that no tenant has any more, and what says that they are packed epochs."""
    if manifests:
        forget_packs(store, manifests)
    for name in manifests:
        store.delete(manifest_name(name))


def _digests(store: Store, manifest: str) -> set[str]:
    """Every shard and index a manifest lists."""
    shards = json.loads(store.read_bytes(manifest_name(manifest)))["shards"]
    return {str(shard[kind]) for shard in shards for kind in ("digest", "index")}


def _purge_uploads(catalog: Catalog, store: Store, tenant: str, dataset: str) -> None:
    """The uploads of a deleted dataset, then the dataset, once nothing else names them."""
    used = 0
    for upload in catalog.purging.inputs_of(dataset):
        upload_id = upload_of(store, upload)
        if upload_id is None:
            continue
        if catalog.purging.uses_of(tenant, upload_id):
            used += 1
            continue
        with suppress(NotFoundError):  # it was deleted before
            _purge_upload(catalog, store, tenant, upload_id)
    if not used:
        catalog.purging.forget_dataset(tenant, dataset)


def _purge_upload(catalog: Catalog, store: Store, tenant: str, upload_id: str) -> None:
    """Raises NotFoundError for one whose row has gone."""
    store.delete_folder(f"uploads/{upload_id}")
    catalog.uploads.delete(tenant, upload_id)
    _audited(catalog, tenant, "retention: purge upload", upload_id)
    log.info("upload %s was purged", upload_id)


def upload_of(store: Store, place: str) -> str | None:
    """The upload a dataset's input is the file of."""
    base = f"{store.path('uploads') if store.is_local else store.uri.rstrip('/') + '/uploads'}/"
    return place[len(base) :].split("/", 1)[0] if place.startswith(base) else None


def purge_export(catalog: Catalog, store: Store, tenant: str, export_id: str) -> None:
    """An export's files and its row. Raises NotFoundError, ConflictError for one that is being written."""
    if catalog.exports.get(tenant, export_id).state in ("queued", "running"):
        raise ConflictError(f"export {export_id} is being written; cancel it first, then delete it")
    store.delete_folder(f"exports/{export_id}")
    catalog.purging.forget_export(tenant, export_id)


def purge_job(catalog: Catalog, store: Store, tenant: str, job_id: str) -> None:
    """What a training job that has ended left, and its row. Raises NotFoundError, ConflictError for another."""
    if catalog.jobs.get(tenant, job_id).state in ("queued", "running"):
        raise ConflictError(f"training job {job_id} may go on; cancel it first, then delete it")
    for place in ("feedback", "training"):
        store.delete_folder(f"{place}/{job_id}")
    catalog.purging.forget_job(tenant, job_id)


def _purge_old_job(catalog: Catalog, store: Store, tenant: str, job_id: str) -> None:
    purge_job(catalog, store, tenant, job_id)
    _audited(catalog, tenant, "retention: purge training job", job_id)


def purge_tenant(catalog: Catalog, settings: Settings, tenant: str) -> dict[str, int]:
    """Everything of a tenant: its keys first, so that nothing comes after; its files; its rows. How many of each kind.

    Raises ConflictError while work of it goes on. Killed in the midst, it is called again.
    """
    working = catalog.purging.working(tenant)
    if working:
        raise ConflictError(
            f"{len(working)} of its runs, jobs and datasets are unfinished ({', '.join(working[:5])}); cancel or "
            "delete them first"
        )
    for key in catalog.keys.of_tenant(tenant):
        catalog.keys.revoke(tenant, key.id)
    store, found = Store.open(settings.root), catalog.purging.everything_of(tenant)
    read = catalog.purging.snapshots(tenant)
    folders = {"runs": ("runs",), "training_jobs": ("feedback", "training"), "exports": ("exports",)}
    for kind, places in {**folders, "uploads": ("uploads",)}.items():
        for name in found[kind]:
            for place in places:
                store.delete_folder(f"{place}/{name}")
    with catalog.purging.forget_tenant(tenant) as orphaned:
        _remove(store, orphaned)
    for snapshot in read - catalog.purging.snapshots():
        store.delete(snapshot)
    return {kind: len(ids) for kind, ids in found.items()}


def _audited(catalog: Catalog, tenant: str, action: str, subject: str) -> None:
    catalog.audit.record(tenant, actor="runner", action=action, subject=subject, status=200, request_id="")


def _guarded(what: str, purge: object) -> None:
    try:
        purge()  # type: ignore[operator]
    except (OSError, ValueError, WinnowError) as error:
        log.warning("%s could not be purged, it is tried again: %s", what, error)

"""What nobody needs any more goes: unfinished files of killed processes, shards of runs that never ended, uploads
nobody goes on with, old events, deliveries and lines of the audit log, answered idempotency keys.

Knows the store and the catalog; nothing of how runs are worked on.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import Final

from curator.catalog import Catalog
from curator.errors import WinnowError
from curator.settings import Settings
from curator.shards.sweeping import sweep_orphans, sweep_snapshots
from curator.storage import Store

__all__ = ["forget_abandoned", "sweep_forgotten", "sweep_unfinished", "sweep_uploads", "tidy"]

log: Final = logging.getLogger(__name__)
_DAY_S: Final = 86400.0


def tidy(catalog: Catalog, settings: Settings) -> None:
    """All of it. Raises RetryableError when the catalog is out of reach."""
    sweep_unfinished(settings)
    sweep_forgotten(catalog, settings)
    forget_abandoned(catalog, settings)
    sweep_uploads(catalog, settings)
    kept_s = settings.retention_event_days * _DAY_S
    catalog.events.prune(kept_s)
    catalog.idempotency.prune()
    catalog.webhooks.prune(kept_s)
    catalog.audit.prune(settings.audit_days * _DAY_S)


def sweep_unfinished(settings: Settings) -> None:
    """Unfinished files of killed processes go; those of living ones, of this root's other runs too, stay."""
    try:
        swept = Store.open(settings.root).sweep()
    except (OSError, WinnowError) as error:
        log.warning("what killed processes left in %s could not be swept: %s", settings.root, error)
        return
    if swept:
        log.info("swept %d unfinished files of killed processes", swept)


def forget_abandoned(catalog: Catalog, settings: Settings) -> None:
    """Uploads nobody goes on with are deleted with their parts, and free their tenants' quota."""
    for upload in catalog.uploads.abandoned(settings.upload_days * _DAY_S):
        try:
            catalog.uploads.delete(upload.tenant, upload.id)
            Store.open(settings.root).delete_folder(f"uploads/{upload.id}")
        except (OSError, WinnowError) as error:
            log.warning("upload %s, which nobody goes on with, could not be deleted: %s", upload.id, error)
        else:
            log.info("upload %s was deleted: nothing came for it in %g days", upload.id, settings.upload_days)


def sweep_uploads(catalog: Catalog, settings: Settings) -> None:
    """Files of uploads that the catalog does not know, or not any more, go after some days: a server died in
    between, or the catalog was put back from a backup and what is newer may be wanted yet."""
    store, folders = Store.open(settings.root), defaultdict[str, list[str]](list)
    older_than_s = settings.retention_orphan_days * _DAY_S
    try:
        for name in store.list("uploads"):
            folders[name.split("/")[1]].append(name)
        for upload_id in sorted(catalog.uploads.missing(folders)):
            if all(time.time() - (store.touched_s(name) or 0.0) > older_than_s for name in folders[upload_id]):
                store.delete_folder(f"uploads/{upload_id}")
                log.info("swept what was left of upload %s, which there is not", upload_id)
    except (OSError, WinnowError) as error:
        log.warning("what is left of uploads in %s could not be swept: %s", settings.root, error)


def sweep_forgotten(catalog: Catalog, settings: Settings) -> None:
    """Shards and indexes that no manifest lists go after some days, but for those of runs that may still go on; so do
    snapshots of feedback that no run reads."""
    store, older_than_s = Store.open(settings.root), settings.retention_orphan_days * _DAY_S
    snapshots = catalog.purging.snapshots()
    written = catalog.outputs.unfinished("write")  # before the manifests are read: see `sweep_orphans`
    in_use = {shard["digest"] for outputs in written for shard in outputs["shards"]}
    try:
        sweep_snapshots(store, snapshots, older_than_s)
        swept = sweep_orphans(store, in_use, older_than_s)
    except (OSError, WinnowError) as error:
        log.warning("forgotten shards in %s could not be swept: %s", settings.root, error)
        return
    if swept:
        log.info("swept %d shards and indexes that no manifest lists", swept)

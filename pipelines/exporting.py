"""One export, worked on by a runner: claim it, write the files, say what they are.

Knows the catalog's exports and the root; nothing of formats (`curator/exports`) or of HTTP. Each claim writes into a
folder of its own, so one that was lost and goes on all the same disturbs nobody.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
from contextlib import suppress
from typing import Any, Final

from curator.catalog import Catalog, ClaimedExport
from curator.errors import LeaseLostError, RetryableError, StoppedError, WinnowError
from curator.exports import write_export
from curator.settings import Settings
from curator.shards import Manifest, ShardReader
from curator.storage import Store
from pipelines.lease import beating, is_dead

__all__ = ["ExportLease", "export_once"]

log: Final = logging.getLogger(__name__)
_CHUNK_BYTES: Final = 1 << 20


class ExportLease:
    """The lease of one claimed export; the writer's thread and the heartbeat share it."""

    def __init__(self, catalog: Catalog, export: ClaimedExport, lease_s: float, shutdown: threading.Event):
        self.export = export
        self._catalog, self._lease_s, self._shutdown, self._lost = catalog, lease_s, shutdown, False
        self._lock = threading.Lock()
        self._progress: dict[str, Any] | None = None

    def progress(self, rows_done: int, rows_total: int) -> None:
        """Where the writing stands; the next heartbeat tells. Raises StoppedError when the process was told to end,
        LeaseLostError when the export was cancelled or is another runner's now."""
        with self._lock:
            self._progress = {"rows_done": rows_done, "rows_total": rows_total}
        if self._lost:
            raise LeaseLostError(f"export {self.export.id} was cancelled, or is another runner's now; it stops here")
        if self._shutdown.is_set():
            raise StoppedError("shutdown")

    def heartbeat(self) -> None:
        """Renews the lease and writes the progress since the last time. Raises LeaseLostError."""
        with self._lock:
            progress, self._progress = self._progress, None
        try:
            self._catalog.exports.heartbeat(self.export, self._lease_s, progress)
        except LeaseLostError:
            self._lost = True
            raise

    def flush(self) -> None:
        """Writes the progress that is waiting, if any. Raises LeaseLostError."""
        if self._progress is not None:
            self.heartbeat()


def export_once(catalog: Catalog, settings: Settings, owner: str, shutdown: threading.Event) -> bool:
    """Takes lost exports away from dead runners, then writes one if there is one; its row says how it ended. False:
    nothing to do."""
    for lost in catalog.exports.reap(settings.max_attempts, is_dead=is_dead):
        log.warning("export %s was lost by its runner and is %s now (attempt %d)", lost.id, lost.state, lost.attempt)
    claimed = catalog.exports.claim(owner, settings.lease_s)
    if claimed is None:
        return False
    log.info("export %s: attempt %d begins", claimed.id, claimed.attempt)
    store = Store.open(settings.root)
    lease = ExportLease(catalog, claimed, settings.lease_s, shutdown)
    try:
        with beating(lease, settings.heartbeat_s):
            _clear(store, f"exports/{claimed.id}")  # what earlier attempts left
            result = _written(store, claimed, lease)
        catalog.exports.finish(claimed, result)
        log.info("export %s: %d rows in %d files", claimed.id, result["rows"], len(result["files"]))
    except Exception as error:
        _clear(store, _folder(claimed))
        with suppress(LeaseLostError):  # cancelled, or another runner's
            _ended(catalog, claimed, error, settings, shutdown)
    return True


def _written(store: Store, claimed: ClaimedExport, lease: ExportLease) -> dict[str, Any]:
    """Writes the files. {folder, rows, files: [{name, bytes, sha256}]}."""
    manifest, folder = Manifest.load(store, claimed.manifest), _folder(claimed)
    total = manifest.num_live
    lease.progress(0, total)
    names = write_export(
        ShardReader(store),
        manifest,
        claimed.format,
        store.child(folder),
        on_rows=lambda rows: lease.progress(rows, total),
    )
    files = [_described(store, folder, name, lease, total) for name in names]
    return {"folder": folder, "rows": total, "files": files}


def _described(store: Store, folder: str, name: str, lease: ExportLease, total: int) -> dict[str, Any]:
    path, digest = f"{folder}/{name}", hashlib.sha256()
    with store.open_input(path) as source:
        while data := source.read(_CHUNK_BYTES):
            digest.update(data)
            lease.progress(total, total)
    return {"name": name, "bytes": store.size(path), "sha256": digest.hexdigest()}


def _ended(
    catalog: Catalog, claimed: ClaimedExport, error: Exception, settings: Settings, shutdown: threading.Event
) -> None:
    """The row of an export that was not written: queued anew after a stop or a passing fault, else failed."""
    if isinstance(error, LeaseLostError):
        log.warning("%s", error)
    elif isinstance(error, StoppedError):
        catalog.exports.release(claimed)
    elif isinstance(error, RetryableError) and claimed.attempt < settings.max_attempts:
        log.warning("export %s is tried again: %s", claimed.id, error)
        shutdown.wait(min(2.0**claimed.attempt, settings.lease_s / 2))
        catalog.exports.release(claimed, again=True)
    else:
        log.warning("export %s failed: %s", claimed.id, error, exc_info=not isinstance(error, WinnowError))
        catalog.exports.fail(claimed, _fault(error))


def _fault(error: Exception) -> dict[str, str]:
    if isinstance(error, WinnowError):
        return {"code": error.code, "message": str(error)}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"code": "disk_full", "message": f"no space left: {error}; free some and export again"}
    return {"code": "internal", "message": f"{type(error).__name__}: {error}"}


def _folder(claimed: ClaimedExport) -> str:
    return f"exports/{claimed.id}/{claimed.fence:05d}"


def _clear(store: Store, folder: str) -> None:
    for name in store.list(folder):
        store.delete(name)

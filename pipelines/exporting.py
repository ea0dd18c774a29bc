"""One export, worked on by a runner: claim it, write the files, say what they are.

Knows the catalog's exports and the root; nothing of formats (`curator/exports`) or of HTTP. Each claim writes into a
folder of its own, so one that was lost and goes on all the same disturbs nobody.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Any, Final, TypeAlias

from curator.catalog import Catalog, ClaimedExport, Export
from curator.exports import write_export
from curator.settings import Settings
from curator.shards import Manifest, ShardReader
from curator.storage import Store
from pipelines.queued import WorkLease, turn

__all__ = ["ExportLease", "export_once"]

ExportLease: TypeAlias = WorkLease[Export, ClaimedExport]
_CHUNK_BYTES: Final = 1 << 20


def export_once(catalog: Catalog, settings: Settings, owner: str, shutdown: threading.Event) -> bool:
    """Takes lost exports away from dead runners, then writes one if there is one; its row says how it ended. False:
    nothing to do."""
    store = Store.open(settings.root)

    def write(lease: ExportLease) -> dict[str, Any]:
        _clear(store, f"exports/{lease.claimed.id}")  # what earlier attempts left
        return _written(store, lease.claimed, lease)

    return turn(
        "export", catalog.exports, settings, owner, shutdown, write, lambda claimed: _clear(store, _folder(claimed))
    )


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


def _folder(claimed: ClaimedExport) -> str:
    return f"exports/{claimed.id}/{claimed.fence:05d}"


def _clear(store: Store, folder: str) -> None:
    for name in store.list(folder):
        store.delete(name)

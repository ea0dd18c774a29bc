"""Entering a manifest into the catalog's register, with every shard and index a puller will ask for.

Knows manifests and where their files lie; nothing of runs beyond a name.
"""

from __future__ import annotations

from curator.catalog.manifests import ManifestRow, Manifests, ShardPlace
from curator.shards.layout import index_name, manifest_name, shard_name
from curator.shards.manifest import Manifest
from curator.storage import Store

__all__ = ["shelve"]


def shelve(manifests: Manifests, store: Store, tenant: str, manifest: Manifest, *, run: str | None) -> ManifestRow:
    """Enters a manifest, its shards and its indexes; again changes nothing."""
    places = {
        info.digest: ShardPlace(digest=info.digest, path=shard_name(info.digest), bytes=info.bytes)
        for info in manifest.shards
    }
    for index in {info.index for info in manifest.shards if info.index is not None}:
        path = index_name(index)
        places[index] = ShardPlace(digest=index, path=path, bytes=store.size(path))
    row = manifests.record(
        tenant,
        manifest.id,
        path=manifest_name(manifest.id),
        shards=list(places.values()),
        run=run,
        parent=manifest.parent,
    )
    manifest.save(store)  # an equal one may have been purged between its writing and its entry
    return row

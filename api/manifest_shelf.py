"""Which manifests, shards and indexes a tenant may read.

Knows the catalog's register and the store's files. A manifest enters the register when its run ends; one of a run made
without a server (`winnow curate` on this root) is entered when it is first asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from api.service import Service
from curator.catalog import ManifestRow, ShardPlace
from curator.catalog.shelf import shelve as enter
from curator.errors import NotFoundError
from curator.run import RunState
from curator.shards import Manifest
from curator.storage import Store

__all__ = ["known_manifest", "lineage", "place_of", "shelve"]


def shelve(service: Service, tenant: str, manifest: Manifest, *, run: str | None) -> ManifestRow:
    """Enters a manifest, its shards and its indexes; again changes nothing."""
    return enter(service.catalog.manifests, service.store, tenant, manifest, run=run)


def known_manifest(service: Service, tenant: str, name: str) -> Manifest:
    """The manifest of an id or an alias, checked against its id. Raises NotFoundError, for another tenant's too."""
    manifest_id = name if name.startswith("man_") else service.catalog.aliases.get(tenant, name).manifest
    try:
        service.catalog.manifests.get(tenant, manifest_id)
    except NotFoundError:
        run = _maker(service, tenant, manifest_id)
        if run is None:
            raise
        manifest = _loaded(service.store, manifest_id)
        shelve(service, tenant, manifest, run=run)
        return manifest
    return _loaded(service.store, manifest_id)


@lru_cache(maxsize=32)
def _loaded(store: Store, manifest_id: str) -> Manifest:
    """Parsed once: a manifest never changes, and pullers ask for places in the same one again and again."""
    return Manifest.load(store, manifest_id)


def lineage(service: Service, tenant: str, name: str) -> list[ManifestRow]:
    """The manifest and its ancestors, newest first. Raises NotFoundError."""
    return service.catalog.manifests.lineage(tenant, known_manifest(service, tenant, name).id)


def place_of(service: Service, tenant: str, kind: Literal["shards", "indexes"], digest: str) -> ShardPlace:
    """Where a shard or an index lies. Raises NotFoundError, for one that no manifest of this tenant lists."""
    place = service.catalog.manifests.shard(tenant, digest)
    if not place.path.startswith(f"{kind}/"):
        raise NotFoundError(f"{digest} is no {kind.removesuffix('s').removesuffix('e')}; the manifest says which are")
    return place


def _maker(service: Service, tenant: str, manifest_id: str) -> str | None:
    """The tenant's finished run that made the manifest."""
    cursor: str | None = None
    while True:
        page = service.catalog.runs.page(tenant, cursor=cursor, limit=1000, states=[RunState.SUCCEEDED])
        for run in page.items:
            if run.summary is not None and run.summary.manifest == manifest_id:
                return run.id
        cursor = page.next_cursor
        if cursor is None:
            return None

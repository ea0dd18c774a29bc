"""Names of manifests under a root: aliases of its catalog, `latest` where there is none."""

import os

import pytest

from curator.catalog import LOCAL_TENANT, Catalog
from curator.catalog.shelf import shelve
from curator.client.shard_stream import ShardStream
from curator.client.sources import RemoteStoreSource
from curator.errors import NotFoundError, RequestError
from curator.settings import Settings
from curator.shards import Override, StoreSource, override
from curator.shards.layout import manifest_name
from curator.shards.named import manifest_named
from curator.storage import Store
from tests.curator.shards.dataset import sample_id, write_dataset


@pytest.fixture
def made(tmp_path):
    store = Store.open(tmp_path / "root")
    first = write_dataset(store, kept=100).manifest
    second = override(first, store, [Override(sample_id=sample_id(3).hex(), action="drop")])
    second.save(store)
    return store, first, second


def catalogued(store, *manifests):
    catalog = Catalog.open(Settings(root=store.base).database_url)
    for manifest in manifests:
        shelve(catalog.manifests, store, LOCAL_TENANT, manifest, run=None)
    return catalog


def test_an_alias_of_the_roots_catalog(made, tmp_path):
    store, first, second = made
    with catalogued(store, first, second) as catalog:
        catalog.aliases.set(LOCAL_TENANT, "prod", first.id, by="me")
        stream = ShardStream(store, "prod", global_batch_size=10)
        assert stream.manifest == first
        state = stream.state_dict()
        catalog.aliases.set(LOCAL_TENANT, "prod", second.id, by="me")
    assert RemoteStoreSource(store, tmp_path / "cache").manifest("prod") == second
    assert stream.adopt("prod") and stream.manifest == second
    stream.load_state_dict(state)
    assert stream.manifest == first, "a state brings the manifest it belongs to"
    for name in ("latest", "other"):
        with pytest.raises(NotFoundError, match=f"no alias '{name}'"):
            StoreSource(store).manifest(name)


def test_a_root_without_a_catalog_knows_the_latest_only(made):
    store, first, second = made
    os.utime(store.path(manifest_name(first.id)), (1, 1))
    assert ShardStream(store, "latest", global_batch_size=10).manifest == second
    os.utime(store.path(manifest_name(first.id)))
    os.utime(store.path(manifest_name(second.id)), (1, 1))
    assert manifest_named(store, "latest") == first.id
    with pytest.raises(NotFoundError, match="has no catalog, so it knows no alias 'prod'"):
        manifest_named(store, "prod")
    assert not store.exists("winnow.db"), "asking leaves nothing behind"


def test_an_empty_root_and_an_id(tmp_path):
    store = Store.open(tmp_path / "nothing")
    with pytest.raises(NotFoundError, match="no manifest under"):
        manifest_named(store, "latest")
    assert manifest_named(store, "man_1") == "man_1"


def test_without_the_servers_libraries_the_error_says_so(made, monkeypatch):
    store, first, _ = made
    catalogued(store, first).close()
    monkeypatch.setitem(__import__("sys").modules, "curator.catalog.aliases", None)
    with pytest.raises(RequestError, match=r"winnow-curation\[server\]"):
        manifest_named(store, "prod")

"""Manifests are recorded once, open their shards to their tenant alone, and names move on them with a version."""

from __future__ import annotations

import pytest

from curator.catalog import Catalog, ManifestRow, ShardPlace
from curator.errors import NotFoundError

SHARDS = [ShardPlace(digest=f"{number:064x}", path=f"shards/{number}.arrow", bytes=10 + number) for number in range(3)]


def record(catalog: Catalog, name: str, parent: str | None = None, run: str | None = "run_1") -> ManifestRow:
    return catalog.manifests.record("local", name, path=f"manifests/{name}.json", shards=SHARDS, run=run, parent=parent)


def test_recording_twice_is_recording_once(catalog: Catalog) -> None:
    first = record(catalog, "man_1")
    assert record(catalog, "man_1", run="run_2") == first
    assert catalog.manifests.get("local", "man_1") == first
    assert catalog.manifests.shard("local", SHARDS[1].digest) == SHARDS[1]
    with pytest.raises(NotFoundError):
        catalog.manifests.shard("local", "f" * 64)


def test_many_shards(catalog: Catalog) -> None:
    many = [ShardPlace(digest=f"{number:064x}", path=str(number), bytes=number) for number in range(2500)]
    catalog.manifests.record("local", "man_big", path="m", shards=many)
    assert catalog.manifests.shard("local", many[2499].digest) == many[2499]


def test_two_tenants_may_have_the_same_manifest_and_see_only_their_own(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    record(catalog, "man_1")
    for act in (
        lambda: catalog.manifests.get(other, "man_1"),
        lambda: catalog.manifests.shard(other, SHARDS[0].digest),
        lambda: catalog.manifests.lineage(other, "man_1"),
        lambda: catalog.aliases.set(other, "prod", "man_1", by="me"),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.manifests.page(other).items == ()
    catalog.manifests.record(other, "man_1", path="elsewhere", shards=SHARDS[:1])
    assert catalog.manifests.get(other, "man_1").path == "elsewhere"
    assert catalog.manifests.get("local", "man_1").path == "manifests/man_1.json"
    with pytest.raises(NotFoundError):
        catalog.manifests.shard(other, SHARDS[1].digest)


def test_lineage_goes_back_to_the_first(catalog: Catalog) -> None:
    record(catalog, "man_1")
    record(catalog, "man_2", parent="man_1")
    record(catalog, "man_3", parent="man_2")
    assert [row.id for row in catalog.manifests.lineage("local", "man_3")] == ["man_3", "man_2", "man_1"]


def test_pages_walk_all_manifests_even_of_the_same_moment(catalog: Catalog) -> None:
    made = {record(catalog, f"man_{number}", run=f"run_{number % 2}").id for number in range(7)}
    walked, cursor = [], None
    while True:
        page = catalog.manifests.page("local", limit=2, cursor=cursor)
        walked += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert (len(walked), set(walked)) == (7, made)
    assert {row.id for row in catalog.manifests.page("local", run="run_1").items} == {"man_1", "man_3", "man_5"}

"""A tenant's limits are its own, and what it takes is counted; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from curator.catalog import Catalog, Quota, ShardPlace, Use
from curator.errors import NotFoundError, QuotaError, SpaceQuotaError
from curator.run import RunRequest

REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})


def test_a_quota_is_kept_as_it_was_set(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    assert catalog.quotas.get("local") == catalog.quotas.get(other) == Quota()
    catalog.quotas.set(other, Quota(datasets=3, requests_per_s=5))
    assert catalog.quotas.get(other) == Quota(datasets=3, requests_per_s=5) and catalog.quotas.get("local") == Quota()
    catalog.quotas.set(other, Quota())
    assert catalog.quotas.get(other) == Quota() and catalog.keys.tenant_named("other").id == other
    for call in (lambda: catalog.quotas.get("tnt_0"), lambda: catalog.quotas.set("tnt_0", Quota())):
        with pytest.raises(NotFoundError):
            call()


def test_what_is_taken_is_counted(catalog: Catalog) -> None:
    assert catalog.quotas.use("local") == Use(stored_bytes=0, upload_bytes=0, datasets=0, running_runs=0)
    gone = catalog.uploads.create("local", "a", 7, "ab", part_bytes=9)
    catalog.uploads.create("local", "a", 5, "ab", part_bytes=9)
    catalog.uploads.delete("local", gone.id)
    catalog.manifests.record("local", "man_1", path="m", shards=[ShardPlace(digest="a", path="a", bytes=11)])
    hidden, _ = catalog.datasets.create("local", "a", "text", {}, ["a"])
    catalog.datasets.create("local", "b", "text", {}, ["b"])
    catalog.datasets.delete("local", hidden.id)
    catalog.manifests.record("local", "man_1", path="man_1", shards=[])
    export = catalog.exports.create("local", "man_1", "jsonl")
    claimed = catalog.exports.claim("me", 60.0)
    assert claimed is not None and claimed.id == export.id
    catalog.exports.finish(claimed, {"folder": "f", "rows": 1, "files": [{"name": "a", "bytes": 100, "sha256": "x"}]})
    catalog.runs.create("local", REQUEST)
    catalog.runs.create_claimed("local", REQUEST, "me", 60.0)
    assert catalog.quotas.use("local") == Use(stored_bytes=116, upload_bytes=5, datasets=1, running_runs=1)


def test_a_tenant_with_a_limit_of_its_own_waits_for_its_turn(catalog: Catalog) -> None:
    narrow, wide = catalog.keys.tenant("narrow").id, catalog.keys.tenant("wide").id
    catalog.quotas.set(narrow, Quota(running_runs=1))
    catalog.quotas.set(wide, Quota(running_runs=3, datasets=1))
    for tenant in (narrow, narrow, wide, wide, wide, wide, "local", "local", "local"):
        catalog.runs.create(tenant, REQUEST)
    taken = []
    while (claimed := catalog.runs.claim("me", 60.0, most_per_tenant=2)) is not None:
        taken.append(claimed.tenant)
    assert {tenant: taken.count(tenant) for tenant in taken} == {narrow: 1, wide: 3, "local": 2}


def test_two_requests_never_both_take_the_last_room(catalog: Catalog) -> None:
    quota, together = Quota(stored_bytes=30, datasets=3), Barrier(8)

    def uploads() -> bool:
        together.wait()
        return taken(lambda: catalog.uploads.create("local", "a.csv", 10, "ab", part_bytes=10, quota=quota))

    def datasets() -> bool:
        together.wait()
        return taken(lambda: catalog.datasets.create("local", "a", "text", {}, ["a"], quota=quota))

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(make) for make in (uploads, datasets) for _ in range(4)]
        done = [future.result() for future in futures]
    assert (sum(done[:4]), sum(done[4:])) == (3, 3)
    use = catalog.quotas.use("local")
    assert (use.stored_bytes, use.datasets) == (30, 3)


def test_what_was_refused_names_limit_use_and_way_out(catalog: Catalog) -> None:
    catalog.uploads.create("local", "a.csv", 10, "ab", part_bytes=10)
    for quota in (Quota(upload_bytes=12), Quota(stored_bytes=12)):
        with pytest.raises(SpaceQuotaError, match=r"_bytes: 10 of 12 bytes are in use and 3 more do not fit; delete"):
            catalog.uploads.create("local", "b.csv", 3, "ab", part_bytes=10, quota=quota)
        catalog.quotas.require_some_room("local", quota, uploads=True)
    catalog.quotas.require_some_room("local", Quota(upload_bytes=10), uploads=False)
    with pytest.raises(SpaceQuotaError, match="10 of 10"):
        catalog.quotas.require_some_room("local", Quota(upload_bytes=10), uploads=True)
    with pytest.raises(QuotaError, match="0 of 0 are registered; delete one"):
        catalog.datasets.create("local", "a", "text", {}, ["a"], quota=Quota(datasets=0))
    assert len(catalog.uploads.page("local").items) == 1 and not catalog.datasets.page("local").items


def taken(make: Callable[[], object]) -> bool:
    try:
        make()
    except QuotaError:
        return False
    return True

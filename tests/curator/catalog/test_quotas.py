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


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest) -> Catalog:
    return request.getfixturevalue("catalog" if request.param == "sqlite" else "postgresql")


def test_a_quota_is_kept_as_it_was_set(kept: Catalog) -> None:
    other = kept.keys.tenant("other").id
    assert kept.quotas.get("local") == kept.quotas.get(other) == Quota()
    kept.quotas.set(other, Quota(datasets=3, requests_per_s=5))
    assert kept.quotas.get(other) == Quota(datasets=3, requests_per_s=5) and kept.quotas.get("local") == Quota()
    kept.quotas.set(other, Quota())
    assert kept.quotas.get(other) == Quota() and kept.keys.tenant_named("other").id == other
    for call in (lambda: kept.quotas.get("tnt_0"), lambda: kept.quotas.set("tnt_0", Quota())):
        with pytest.raises(NotFoundError):
            call()


def test_what_is_taken_is_counted(kept: Catalog) -> None:
    assert kept.quotas.use("local") == Use(stored_bytes=0, upload_bytes=0, datasets=0, running_runs=0)
    gone = kept.uploads.create("local", "a", 7, "ab", part_bytes=9)
    kept.uploads.create("local", "a", 5, "ab", part_bytes=9)
    kept.uploads.delete("local", gone.id)
    kept.manifests.record("local", "man_1", path="m", shards=[ShardPlace(digest="a", path="a", bytes=11)])
    hidden, _ = kept.datasets.create("local", "a", "text", {}, ["a"])
    kept.datasets.create("local", "b", "text", {}, ["b"])
    kept.datasets.delete("local", hidden.id)
    kept.manifests.record("local", "man_1", path="man_1", shards=[])
    export = kept.exports.create("local", "man_1", "jsonl")
    claimed = kept.exports.claim("me", 60.0)
    assert claimed is not None and claimed.id == export.id
    kept.exports.finish(claimed, {"folder": "f", "rows": 1, "files": [{"name": "a", "bytes": 100, "sha256": "x"}]})
    kept.runs.create("local", REQUEST)
    kept.runs.create_claimed("local", REQUEST, "me", 60.0)
    assert kept.quotas.use("local") == Use(stored_bytes=116, upload_bytes=5, datasets=1, running_runs=1)


def test_a_tenant_with_a_limit_of_its_own_waits_for_its_turn(kept: Catalog) -> None:
    narrow, wide = kept.keys.tenant("narrow").id, kept.keys.tenant("wide").id
    kept.quotas.set(narrow, Quota(running_runs=1))
    kept.quotas.set(wide, Quota(running_runs=3, datasets=1))
    for tenant in (narrow, narrow, wide, wide, wide, wide, "local", "local", "local"):
        kept.runs.create(tenant, REQUEST)
    taken = []
    while (claimed := kept.runs.claim("me", 60.0, most_per_tenant=2)) is not None:
        taken.append(claimed.tenant)
    assert {tenant: taken.count(tenant) for tenant in taken} == {narrow: 1, wide: 3, "local": 2}


def test_two_requests_never_both_take_the_last_room(kept: Catalog) -> None:
    quota, together = Quota(stored_bytes=30, datasets=3), Barrier(8)

    def uploads() -> bool:
        together.wait()
        return taken(lambda: kept.uploads.create("local", "a.csv", 10, "ab", part_bytes=10, quota=quota))

    def datasets() -> bool:
        together.wait()
        return taken(lambda: kept.datasets.create("local", "a", "text", {}, ["a"], quota=quota))

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(make) for make in (uploads, datasets) for _ in range(4)]
        done = [future.result() for future in futures]
    assert (sum(done[:4]), sum(done[4:])) == (3, 3)
    use = kept.quotas.use("local")
    assert (use.stored_bytes, use.datasets) == (30, 3)


def test_what_was_refused_names_limit_use_and_way_out(kept: Catalog) -> None:
    kept.uploads.create("local", "a.csv", 10, "ab", part_bytes=10)
    for quota in (Quota(upload_bytes=12), Quota(stored_bytes=12)):
        with pytest.raises(SpaceQuotaError, match=r"_bytes: 10 of 12 bytes are in use and 3 more do not fit; delete"):
            kept.uploads.create("local", "b.csv", 3, "ab", part_bytes=10, quota=quota)
        kept.quotas.require_some_room("local", quota, uploads=True)
    kept.quotas.require_some_room("local", Quota(upload_bytes=10), uploads=False)
    with pytest.raises(SpaceQuotaError, match="10 of 10"):
        kept.quotas.require_some_room("local", Quota(upload_bytes=10), uploads=True)
    with pytest.raises(QuotaError, match="0 of 0 are registered; delete one"):
        kept.datasets.create("local", "a", "text", {}, ["a"], quota=Quota(datasets=0))
    assert len(kept.uploads.page("local").items) == 1 and not kept.datasets.page("local").items


def taken(make: Callable[[], object]) -> bool:
    try:
        make()
    except QuotaError:
        return False
    return True

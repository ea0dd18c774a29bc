"""Exports are leased to one runner, taken from a dead one, and end once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, JobState
from curator.catalog.schema_exports import exports
from curator.errors import ConflictError, LeaseLostError, NotFoundError

J = JobState


@pytest.fixture(autouse=True)
def manifest(catalog: Catalog) -> None:
    catalog.manifests.record("local", "man_1", path="man_1", shards=[])


def expire(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(sa.update(exports).values(lease_until=exports.c.created_at - 1.0))


def test_an_export_from_the_queue_to_its_end(catalog: Catalog) -> None:
    first, second = (catalog.exports.create("local", "man_1", form) for form in ("parquet", "mds"))
    claimed = catalog.exports.claim("me", 60.0)
    assert claimed is not None and (claimed.id, claimed.format, claimed.fence) == (first.id, "parquet", 1)
    catalog.exports.heartbeat(claimed, 60.0)
    assert catalog.exports.get("local", first.id).version == 2
    catalog.exports.heartbeat(claimed, 60.0, {"rows_done": 5})
    assert catalog.exports.get("local", first.id).progress == {"rows_done": 5}
    done = catalog.exports.finish(claimed, {"rows": 5, "files": []})
    assert (done.state, done.result, done.version) == (J.SUCCEEDED, {"rows": 5, "files": []}, 4)
    assert [export.id for export in catalog.exports.page("local").items] == [second.id, first.id]
    page = catalog.exports.page("local", limit=1)
    assert catalog.exports.page("local", limit=1, cursor=page.next_cursor).items == (done,)
    told = [event.data["to_state"] for event in catalog.events.after("local", 0, subject=first.id)]
    assert told == ["queued", "running", "succeeded"]
    for act in (lambda: catalog.exports.finish(claimed, {}), lambda: catalog.exports.release(claimed)):
        with pytest.raises(LeaseLostError, match="succeeded"):
            act()


def test_a_cancelled_export_is_nobodys(catalog: Catalog) -> None:
    export = catalog.exports.create("local", "man_1", "jsonl")
    claimed = catalog.exports.claim("me", 60.0)
    assert claimed is not None
    with pytest.raises(ConflictError, match="version 2"):
        catalog.exports.cancel("local", export.id, version=1)
    assert catalog.exports.cancel("local", export.id, version=2).state == J.CANCELLED
    with pytest.raises(LeaseLostError, match="cancelled"):
        catalog.exports.heartbeat(claimed, 60.0)
    with pytest.raises(ConflictError, match="cancelled"):
        catalog.exports.cancel("local", export.id)
    assert catalog.exports.claim("me", 60.0) is None


def test_a_lost_export_goes_to_another_runner_until_its_attempts_are_used_up(catalog: Catalog) -> None:
    export = catalog.exports.create("local", "man_1", "jsonl")
    first = catalog.exports.claim("one", 60.0)
    assert first is not None and catalog.exports.reap(2) == []
    expire(catalog)
    assert [lost.state for lost in catalog.exports.reap(2)] == [J.QUEUED]
    with pytest.raises(LeaseLostError, match="fence 2"):
        catalog.exports.finish(first, {})
    second = catalog.exports.claim("two", 60.0)
    assert second is not None and (second.attempt, second.fence) == (2, 3)
    [failed] = catalog.exports.reap(2, is_dead=lambda owner: owner == "two")
    assert (failed.id, failed.state) == (export.id, J.FAILED)
    assert failed.error is not None and failed.error["code"] == "lease_lost"


def test_what_is_given_back_is_claimed_again(catalog: Catalog) -> None:
    catalog.exports.create("local", "man_1", "jsonl")
    for attempt, again in ((1, False), (1, True), (2, True)):
        claimed = catalog.exports.claim("me", 60.0)
        assert claimed is not None and claimed.attempt == attempt
        catalog.exports.release(claimed, again=again)
    claimed = catalog.exports.claim("me", 60.0)
    assert claimed is not None
    assert catalog.exports.fail(claimed, {"code": "x", "message": "y"}).error == {"code": "x", "message": "y"}


def test_a_reserved_id_makes_one_and_strangers_see_none(catalog: Catalog) -> None:
    first = catalog.exports.create("local", "man_1", "jsonl", export_id="exp_1")
    assert catalog.exports.create("local", "man_1", "jsonl", export_id="exp_1") == first
    other = catalog.keys.tenant("other").id
    acts: list[Callable[[], object]] = [
        lambda: catalog.exports.get(other, "exp_1"),
        lambda: catalog.exports.cancel(other, "exp_1"),
    ]
    for act in acts:
        with pytest.raises(NotFoundError):
            act()
    assert catalog.exports.page(other).items == ()

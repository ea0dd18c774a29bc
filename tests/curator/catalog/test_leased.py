"""Leased work is one runner's at a time, whatever the work is: exports and training jobs obey the same laws."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, JobState
from curator.catalog.schema import training_jobs
from curator.catalog.schema_exports import exports
from curator.errors import LeaseLostError, NotFoundError

J = JobState
TABLES = {"export": exports, "training job": training_jobs}
EVENTS = {"export": "export.state", "training job": "job.state"}


@pytest.fixture(params=sorted(TABLES))
def noun(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def nouns(catalog: Catalog, noun: str) -> Any:
    return catalog.exports if noun == "export" else catalog.jobs


def create(catalog: Catalog, noun: str, tenant: str = "local") -> Any:
    if noun == "export":
        catalog.manifests.record(tenant, "man_1", path="man_1", shards=[])
        return catalog.exports.create(tenant, "man_1", "jsonl")
    return catalog.jobs.create(tenant, "managed", plan="epl_1", spec={"entry": "text"})


def lease(catalog: Catalog, noun: str) -> tuple[str | None, int]:
    table = TABLES[noun]
    with catalog.database.read() as connection:
        owner, fence = connection.execute(sa.select(table.c.lease_owner, table.c.fence)).one()
    return owner, fence


def set_lease(catalog: Catalog, noun: str, **values: Any) -> None:
    with catalog.database.write() as connection:
        connection.execute(sa.update(TABLES[noun]).values(**values))


def test_a_claim_tells_what_its_row_tells(catalog: Catalog, noun: str) -> None:
    made = create(catalog, noun)
    claim = nouns(catalog, noun).claim("me", 60.0)
    told = claim.model_dump(exclude={"owner", "fence"})
    assert told.items() <= made.model_dump().items() and (claim.owner, claim.fence) == ("me", 1)
    assert lease(catalog, noun) == ("me", 1)
    [born, claimed] = catalog.events.after("local", 0, subject=made.id)
    assert (born.kind, claimed.kind) == (EVENTS[noun],) * 2
    assert born.data == {"from_state": None, "to_state": "queued", "attempt": 1, "version": 1}
    assert claimed.data == {"from_state": "queued", "to_state": "running", "attempt": 1, "version": 2}


def test_a_lease_ends_with_the_work_and_the_fence_stays(catalog: Catalog, noun: str) -> None:
    create(catalog, noun)
    claim = nouns(catalog, noun).claim("me", 60.0)
    nouns(catalog, noun).release(claim)
    assert lease(catalog, noun) == (None, 1)
    with pytest.raises(LeaseLostError, match=f"{noun} {claim.id} is queued with fence 1, this runner held fence 1"):
        nouns(catalog, noun).release(claim)
    nouns(catalog, noun).claim("other", 60.0)
    with pytest.raises(LeaseLostError, match=f"{noun} {claim.id} is running with fence 2, this runner held fence 1"):
        nouns(catalog, noun).heartbeat(claim, 60.0)
    assert lease(catalog, noun) == ("other", 2)


def test_another_tenants_claim_finds_nothing(catalog: Catalog, noun: str) -> None:
    create(catalog, noun)
    claim = nouns(catalog, noun).claim("me", 60.0).model_copy(update={"tenant": catalog.keys.tenant("other").id})
    with pytest.raises(NotFoundError, match=f"there is no {noun} '{claim.id}'"):
        nouns(catalog, noun).release(claim)
    assert lease(catalog, noun) == ("me", 1)


@pytest.mark.parametrize(
    "meanwhile", [{"lease_owner": "other"}, {"lease_owner": None}, {"state": J.CANCELLED}], ids=str
)
def test_a_row_that_changed_before_the_lock_is_not_reaped(
    catalog: Catalog, noun: str, meanwhile: dict[str, Any]
) -> None:
    """`is_dead` is asked between the reading and the lock: what it changes, others may."""
    made = create(catalog, noun)
    nouns(catalog, noun).claim("me", 60.0)

    def changes(owner: str) -> bool:
        set_lease(catalog, noun, **meanwhile)
        return True

    assert nouns(catalog, noun).reap(3, is_dead=changes) == []
    assert lease(catalog, noun)[1] == 1 and nouns(catalog, noun).get("local", made.id).attempt == 1


def test_the_next_is_of_the_tenant_with_the_fewest_at_work_then_the_oldest(catalog: Catalog, noun: str) -> None:
    other = catalog.keys.tenant("other").id
    first, second, third = (create(catalog, noun) for _ in range(3))
    theirs = create(catalog, noun, other)
    if noun == "training job":
        for _ in range(3):
            catalog.jobs.create(other, "external", plan=None, spec={})  # no runner works on these
    claimed = [nouns(catalog, noun).claim("me", 60.0) for _ in range(4)]
    assert [claim.id for claim in claimed] == [made.id for made in (first, theirs, second, third)]
    assert nouns(catalog, noun).claim("me", 60.0) is None


def test_an_owner_that_comes_back_keeps_its_work(catalog: Catalog, noun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that had run out when it was read, and was renewed before the lock was had."""
    create(catalog, noun)
    claim = nouns(catalog, noun).claim("me", 60.0)
    set_lease(catalog, noun, lease_until=TABLES[noun].c.created_at - 1.0)
    write = catalog.database.write

    def renewed_first() -> Any:
        monkeypatch.setattr(catalog.database, "write", write)
        nouns(catalog, noun).heartbeat(claim, 60.0)
        return write()

    monkeypatch.setattr(catalog.database, "write", renewed_first)
    assert nouns(catalog, noun).reap(3) == []
    assert lease(catalog, noun) == ("me", 1)


def test_running_work_that_never_had_a_lease_is_nobodys_to_take(catalog: Catalog) -> None:
    job = catalog.jobs.create("local", "external", plan=None, spec={})
    assert catalog.jobs.reap(1, is_dead=lambda owner: True) == []
    assert catalog.jobs.get("local", job.id) == job


def test_the_last_attempt_fails_with_its_reason(catalog: Catalog, noun: str) -> None:
    create(catalog, noun)
    for attempt in (1, 2):
        assert nouns(catalog, noun).claim("me", 60.0).attempt == attempt
        [lost] = nouns(catalog, noun).reap(2, is_dead=lambda owner: True)
        assert lease(catalog, noun) == (None, 2 * attempt)
    assert (lost.state, lost.error) == (
        J.FAILED,
        {"code": "lease_lost", "message": "its runner was lost in attempt 2 of 2; look for what kills it"},
    )


def test_runners_that_claim_at_once_share_nothing(postgresql: Catalog, noun: str) -> None:
    made = {create(postgresql, noun).id for _ in range(6)}
    claimed: list[str] = []
    gate = threading.Barrier(3)

    def runner(name: str) -> None:
        gate.wait()
        while (claim := nouns(postgresql, noun).claim(name, 60.0)) is not None:
            claimed.append(claim.id)

    threads = [threading.Thread(target=runner, args=(f"runner {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(made) and set(claimed) == made

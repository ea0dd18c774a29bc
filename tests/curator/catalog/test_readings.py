"""Readings of an epoch: every block is leased to one consumer at a time and acknowledged once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from curator.catalog import BlockLease, Catalog, JobState, Reading
from curator.catalog.schema_plans import reading_blocks
from curator.errors import LeaseLostError, NotFoundError


@pytest.fixture(autouse=True)
def manifest(catalog: Catalog) -> None:
    catalog.manifests.record("local", "man_1", path="man_1", shards=[])


def begun(catalog: Catalog, *, positions: int = 250, block: int = 100, name: str = "all") -> Reading:
    plan = catalog.plans.create("local", "man_1", {"seed": 1})
    return catalog.readings.open("local", plan.id, 2, name, block_positions=block, num_positions=positions)


def expire(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        late = sa.update(reading_blocks).where(reading_blocks.c.lease_until.is_not(None))
        connection.execute(late.values(lease_until=reading_blocks.c.created_at - 3600.0))


def taken(catalog: Catalog, reading: Reading, consumer: str = "one") -> BlockLease:
    lease = catalog.readings.claim(reading, consumer, 60.0)
    assert lease is not None
    return lease


def test_an_epoch_is_given_out_in_blocks_and_ends_when_all_are_acknowledged(catalog: Catalog) -> None:
    reading = begun(catalog)
    leases = [taken(catalog, reading, name) for name in ("one", "two", "one")]
    assert [(lease.first, lease.stop) for lease in leases] == [(0, 100), (100, 200), (200, 250)]
    assert catalog.readings.claim(reading, "three", 60.0) is None
    for lease in leases:
        assert not catalog.readings.standing(reading).done
        assert catalog.readings.ack("local", reading, lease.id, lease.fence).state == JobState.SUCCEEDED
    standing = catalog.readings.standing(reading)
    assert standing.done and (standing.positions_acked, standing.leased, standing.repeated) == (250, 0, 0)
    assert catalog.readings.claim(reading, "one", 60.0) is None


def test_a_block_whose_lease_ran_out_goes_first_to_whoever_asks(catalog: Catalog) -> None:
    reading = begun(catalog)
    first = taken(catalog, reading)
    expire(catalog)
    again = taken(catalog, reading, "two")
    assert (again.id, again.first) == (first.id, 0) and again.fence > first.fence
    for act in (catalog.readings.ack, catalog.readings.release):
        with pytest.raises(LeaseLostError, match="fence"):
            act("local", reading, first.id, first.fence)
    with pytest.raises(LeaseLostError):
        catalog.readings.heartbeat("local", reading, first.id, first.fence, 60.0)
    catalog.readings.ack("local", reading, again.id, again.fence)
    with pytest.raises(LeaseLostError, match="succeeded"):
        catalog.readings.ack("local", reading, first.id, first.fence)
    assert catalog.readings.standing(reading).repeated == 1


def test_an_ack_sent_twice_is_one(catalog: Catalog) -> None:
    reading = begun(catalog)
    lease = taken(catalog, reading)
    done = catalog.readings.ack("local", reading, lease.id, lease.fence)
    assert catalog.readings.ack("local", reading, lease.id, lease.fence) == done
    with pytest.raises(LeaseLostError):
        catalog.readings.heartbeat("local", reading, lease.id, lease.fence, 60.0)


def test_a_late_ack_of_a_block_nobody_took_meanwhile_counts(catalog: Catalog) -> None:
    reading = begun(catalog)
    lease = taken(catalog, reading)
    expire(catalog)
    catalog.readings.heartbeat("local", reading, lease.id, lease.fence, 60.0)
    assert taken(catalog, reading, "two").first == 100
    catalog.readings.ack("local", reading, lease.id, lease.fence)


def test_a_block_given_back_is_leased_at_once(catalog: Catalog) -> None:
    reading = begun(catalog)
    lease = taken(catalog, reading)
    assert catalog.readings.release("local", reading, lease.id, lease.fence).state == JobState.QUEUED
    assert taken(catalog, reading, "two").first == 0


def test_groups_read_for_themselves_and_a_reading_keeps_its_blocks(catalog: Catalog) -> None:
    reading, other = begun(catalog), begun(catalog, name="others")
    assert taken(catalog, reading).first == taken(catalog, other).first == 0
    assert begun(catalog, block=50) == reading
    assert catalog.readings.get("local", reading.plan, 2, "all") == reading


def test_nothing_is_told_to_strangers_and_a_lease_is_one_readings(catalog: Catalog) -> None:
    reading, other = begun(catalog), begun(catalog, name="others")
    lease, stranger = taken(catalog, reading), catalog.keys.tenant("stranger").id
    acts: list[Callable[[], object]] = [
        lambda: catalog.readings.get(stranger, reading.plan, 2, "all"),
        lambda: catalog.readings.get("local", reading.plan, 3, "all"),
        lambda: catalog.readings.open(stranger, reading.plan, 2, "x", block_positions=1, num_positions=1),
        lambda: catalog.readings.ack(stranger, reading, lease.id, lease.fence),
        lambda: catalog.readings.ack("local", other, lease.id, lease.fence),
        lambda: catalog.readings.heartbeat("local", reading, "lse_none", 1, 60.0),
    ]
    for act in acts:
        with pytest.raises(NotFoundError):
            act()


def test_blocks_leave_no_events(catalog: Catalog) -> None:
    reading = begun(catalog)
    lease = taken(catalog, reading)
    catalog.readings.ack("local", reading, lease.id, lease.fence)
    assert catalog.events.after("local", 0, limit=10) == []


def test_many_consumers_at_once_on_postgresql(postgresql: Catalog) -> None:
    from concurrent.futures import ThreadPoolExecutor

    postgresql.manifests.record("local", "man_1", path="man_1", shards=[])
    reading = begun(postgresql, positions=400, block=10)

    def consume(name: str) -> list[int]:
        mine = []
        while (lease := postgresql.readings.claim(reading, name, 60.0)) is not None:
            postgresql.readings.ack("local", reading, lease.id, lease.fence)
            mine.append(lease.first)
        return mine

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(consume, ["one", "two", "three", "four"]))
    assert sorted(first for share in shares for first in share) == list(range(0, 400, 10))
    assert postgresql.readings.standing(reading).done

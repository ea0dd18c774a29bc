"""Any order of leases, heartbeats, acks, crashes and lapses, played by two consumers against a real SQLite file.

Laws: a block has one holder; its fence never goes back; an acknowledged block stays so and is never leased again; what
is done under an old fence is refused; when all holders are done, the acknowledged blocks are the epoch.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from curator.catalog import BlockLease, Catalog
from curator.catalog.schema_plans import reading_blocks
from curator.errors import LeaseLostError

POSITIONS, BLOCK = 37, 8
BLOCKS = 5


class ReadingMachine(RuleBasedStateMachine):
    template: Path  # a migrated file to copy
    leases = Bundle("leases")  # every lease ever given: most are a zombie's sooner or later

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="winnow-machine-"))
        shutil.copy(self.template, self.folder / "winnow.db")
        self.catalog = Catalog.open(f"sqlite:///{self.folder / 'winnow.db'}")
        self.holder: dict[int, BlockLease] = {}  # who may acknowledge, by our own reckoning
        self.acked: dict[int, BlockLease] = {}
        self.lapsed: set[int] = set()  # held, but the lease has run out
        self.fences: dict[int, int] = {}

    @initialize()
    def begin(self) -> None:
        self.catalog.manifests.record("local", "man_1", path="man_1", shards=[])
        plan = self.catalog.plans.create("local", "man_1", {"seed": 1})
        sizes = {"block_positions": BLOCK, "num_positions": POSITIONS}
        self.reading = self.catalog.readings.open("local", plan.id, 0, "all", **sizes)

    def teardown(self) -> None:
        self.finish()
        self.catalog.close()
        shutil.rmtree(self.folder)

    def finish(self) -> None:
        """All consumers are gone; one that comes afterwards ends the epoch."""
        if not hasattr(self, "reading"):
            return
        for number in self.holder:
            self._let_lapse(number)
        while (lease := self.catalog.readings.claim(self.reading, "last", 60.0)) is not None:
            assert lease.number not in self.acked
            self.catalog.readings.ack("local", self.reading, lease.id, lease.fence)
            self.acked[lease.number] = lease
        covered = sorted((lease.first, lease.stop) for lease in self.acked.values())
        assert covered == [(n * BLOCK, min((n + 1) * BLOCK, POSITIONS)) for n in range(BLOCKS)]
        assert self.catalog.readings.standing(self.reading).done

    def _let_lapse(self, number: int) -> None:
        lapsed = sa.update(reading_blocks).where(
            reading_blocks.c.number == number, reading_blocks.c.lease_until.is_not(None)
        )
        with self.catalog.database.write() as connection:
            connection.execute(lapsed.values(lease_until=reading_blocks.c.created_at - 1.0))

    @rule(target=leases, consumer=st.sampled_from(["one", "two"]))
    def claim(self, consumer: str) -> Any:
        lease = self.catalog.readings.claim(self.reading, consumer, 60.0)
        for number in self.lapsed:  # whoever asks takes them away from their holders
            del self.holder[number]
        self.lapsed.clear()
        if lease is None:
            assert {*self.holder, *self.acked} == set(range(BLOCKS))
            return multiple()
        assert lease.number not in self.holder and lease.number not in self.acked, "two holders"
        self.holder[lease.number] = lease
        return lease

    @rule(lease=leases)
    def heartbeat(self, lease: BlockLease) -> None:
        if self.holder.get(lease.number) != lease:
            with pytest.raises(LeaseLostError):
                self.catalog.readings.heartbeat("local", self.reading, lease.id, lease.fence, 60.0)
            return
        self.catalog.readings.heartbeat("local", self.reading, lease.id, lease.fence, 60.0)
        self.lapsed.discard(lease.number)

    @rule(lease=leases)
    def ack(self, lease: BlockLease) -> None:
        if self.holder.get(lease.number) != lease and self.acked.get(lease.number) != lease:
            with pytest.raises(LeaseLostError):
                self.catalog.readings.ack("local", self.reading, lease.id, lease.fence)
            return
        self.catalog.readings.ack("local", self.reading, lease.id, lease.fence)
        self.acked[lease.number] = lease
        self.holder.pop(lease.number, None)
        self.lapsed.discard(lease.number)

    @rule(lease=leases)
    def release(self, lease: BlockLease) -> None:
        if self.holder.get(lease.number) != lease:
            with pytest.raises(LeaseLostError):
                self.catalog.readings.release("local", self.reading, lease.id, lease.fence)
            return
        self.catalog.readings.release("local", self.reading, lease.id, lease.fence)
        del self.holder[lease.number]
        self.lapsed.discard(lease.number)

    @rule(lease=leases)
    def a_lease_runs_out(self, lease: BlockLease) -> None:
        """Whether its consumer was killed or is only slow, nobody can tell."""
        if self.holder.get(lease.number) == lease:
            self._let_lapse(lease.number)
            self.lapsed.add(lease.number)

    @invariant()
    def laws(self) -> None:
        with self.catalog.database.read() as connection:
            rows = connection.execute(sa.select(reading_blocks)).mappings().all()
        for row in rows:
            number = row["number"]
            assert (row["state"] == "running") == (number in self.holder), "held is leased"
            assert (row["state"] == "succeeded") == (number in self.acked), "acknowledged is final"
            assert row["fence"] >= self.fences.get(number, 0), "the fence never goes back"
            self.fences[number] = row["fence"]


def test_the_machine(empty_catalog: Path) -> None:
    machine = type("Machine", (ReadingMachine,), {"template": empty_catalog})
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=quiet
        ),
    )

"""Readings: one epoch of a plan read by a group of consumers that come and go, block by block under leases.

Knows positions, nothing of rows; how a lease is kept is leased.py's. A block is a row once it was first asked for, so
an epoch costs nothing before it is read. A block whose lease ran out is leased again: each is acknowledged once, and
may be read more than once.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.leased import Claim, JobState, Leases, Work
from curator.catalog.plans import plan_row
from curator.catalog.schema_plans import reading_blocks, readings
from curator.errors import LeaseLostError, NotFoundError

__all__ = ["Block", "BlockLease", "Reading", "Readings", "Standing"]

_BLOCKS: Final = reading_blocks.c
_READING: Final = ("id", "tenant", "plan", "epoch", "name", "block_positions", "num_positions", "created_at")
_S = JobState


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reading(_Record):
    """`plan`: the plan's row. `name`: the group that shares the epoch; another group reads it for itself."""

    id: str
    tenant: str
    plan: str
    epoch: int
    name: str
    block_positions: int
    num_positions: int
    created_at: dt.datetime

    @property
    def num_blocks(self) -> int:
        return -(-self.num_positions // self.block_positions)


class Standing(_Record):
    """How far a reading is. Positions neither acknowledged nor leased are still to be given out."""

    blocks: int
    acked: int
    leased: int
    positions: int
    positions_acked: int
    repeated: int

    @property
    def done(self) -> bool:
        return self.acked == self.blocks


class Block(Work):
    """Positions [first, stop) of the epoch. succeeded: acknowledged; running: leased; queued: given back or lost."""

    reading: str
    number: int
    first: int
    stop: int


class BlockLease(Claim):
    """A block that is one consumer's to read, as long as the fence holds."""

    reading: str
    number: int
    first: int
    stop: int


class Readings:
    def __init__(self, database: Database):
        self._db = database
        self._leases = Leases(database, reading_blocks, Block, BlockLease, oldest="number", noun="block", event=None)

    def open(
        self, tenant: str, plan: str, epoch: int, name: str, *, block_positions: int, num_positions: int
    ) -> Reading:
        """The group's reading of an epoch, begun if it was not; then it keeps the blocks it has. Raises NotFoundError
        for another tenant's plan."""
        sizes = {"block_positions": block_positions, "num_positions": num_positions}
        with self._db.write() as connection:
            key = {"tenant": tenant, "plan": plan_row(connection, tenant, plan).id, "epoch": epoch, "name": name}
            insert_new(connection, readings, id=new_id("rdg"), **key, **sizes, created_at=now())
            return _reading(connection, **key)

    def get(self, tenant: str, plan: str, epoch: int, name: str) -> Reading:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _reading(connection, tenant=tenant, plan=plan, epoch=epoch, name=name)

    def standing(self, reading: Reading) -> Standing:
        """Counted now."""
        span, state = _BLOCKS.stop - _BLOCKS.first, _BLOCKS.state
        query = sa.select(state, sa.func.count(), sa.func.sum(span), sa.func.sum(_BLOCKS.attempt - 1))
        with self._db.read() as connection:
            rows = connection.execute(query.where(_BLOCKS.reading == reading.id).group_by(state)).all()
        counts = {name: (int(blocks), int(positions)) for name, blocks, positions, _ in rows}
        return Standing(
            blocks=reading.num_blocks,
            acked=counts.get(_S.SUCCEEDED, (0, 0))[0],
            leased=counts.get(_S.RUNNING, (0, 0))[0],
            positions=reading.num_positions,
            positions_acked=counts.get(_S.SUCCEEDED, (0, 0))[1],
            repeated=sum(int(again) for *_, again in rows),
        )

    def claim(self, reading: Reading, consumer: str, lease_s: float) -> BlockLease | None:
        """The first block nobody holds, for `lease_s` seconds: one whose lease ran out before one never read. None
        when every block is acknowledged or leased. Two consumers never hold the same one."""
        return self.exchange(reading, consumer, lease_s)[0]

    def exchange(
        self, reading: Reading, consumer: str, lease_s: float, done: Sequence[tuple[str, int]] = ()
    ) -> tuple[BlockLease | None, list[str]]:
        """Acknowledges (lease, fence) pairs and claims the next block, in one transaction; also the leases that were
        lost before they could be acknowledged. Raises NotFoundError for a lease that is none of this reading."""
        mine = _BLOCKS.reading == reading.id
        self._leases.reap(sys.maxsize, None, mine)
        lost: dict[str, None] = {}
        while True:  # another consumer may take a block between its queueing and its claim
            with self._db.write() as connection:
                lost |= dict.fromkeys(self._acked_all(connection, reading, done))
                claimed = self._leases.claim_in(connection, consumer, lease_s, mine)
                grown = claimed is None and self._grow(connection, reading)
                if grown:
                    claimed = self._leases.claim_in(connection, consumer, lease_s, mine)
            if claimed is not None or not grown:
                return claimed, list(lost)

    def heartbeat(self, tenant: str, reading: Reading, lease: str, fence: int, lease_s: float) -> None:
        """Keeps a block for `lease_s` seconds more. Raises NotFoundError; LeaseLostError when it is acknowledged or
        another consumer's."""
        self._leases.heartbeat(self._held(tenant, reading, lease, fence), lease_s, None)

    def ack(self, tenant: str, reading: Reading, lease: str, fence: int) -> Block:
        """The block is read. Under the same fence again it changes nothing. Raises NotFoundError; LeaseLostError when
        it was leased anew since: then whoever holds it reads it again."""
        with self._db.write() as connection:
            return self._acked(connection, tenant, reading, lease, fence)

    def release(self, tenant: str, reading: Reading, lease: str, fence: int) -> Block:
        """Gives a block back unread; somebody gets it at once. Raises as `heartbeat`."""
        held = self._held(tenant, reading, lease, fence)
        return self._leases.let_go(held, _S.QUEUED, attempt=held.attempt + 1)

    def _held(self, tenant: str, reading: Reading, lease: str, fence: int) -> BlockLease:
        claimed = self._leases.claimed(tenant, lease, fence)
        if claimed.reading != reading.id:
            raise _no_lease_of(reading, lease)
        return claimed

    def _acked(self, connection: sa.Connection, tenant: str, reading: Reading, lease: str, fence: int) -> Block:
        if self._leases.row(connection, tenant, lease).reading != reading.id:
            raise _no_lease_of(reading, lease)
        block = self._leases.held(connection, tenant, lease, fence, (_S.RUNNING, _S.SUCCEEDED))
        return block if block.state == _S.SUCCEEDED else self._leases.moved(connection, block, _S.SUCCEEDED)

    def _acked_all(self, connection: sa.Connection, reading: Reading, done: Sequence[tuple[str, int]]) -> list[str]:
        """Acknowledges what can be; the leases that cannot, as they were lost."""
        lost = []
        for lease, fence in done:
            try:
                self._acked(connection, reading.tenant, reading, lease, fence)
            except LeaseLostError:
                lost.append(lease)
        return lost

    def _grow(self, connection: sa.Connection, reading: Reading) -> bool:
        """Queues the next block of the epoch; False when all are there. Two consumers may queue the same one, which is
        one row."""
        query = sa.select(sa.func.count()).where(_BLOCKS.reading == reading.id)
        number = connection.execute(query).scalar_one()
        if number == reading.num_blocks:
            return False
        first = number * reading.block_positions
        stop = min(first + reading.block_positions, reading.num_positions)
        name = f"lse_{reading.id.removeprefix('rdg_')}.{number:08d}"
        place = {"reading": reading.id, "number": number, "first": first, "stop": stop}
        self._leases.add_in(connection, id=name, tenant=reading.tenant, state=_S.QUEUED, **place)
        return True


def _no_lease_of(reading: Reading, lease: str) -> NotFoundError:
    return NotFoundError(f"lease {lease!r} is none of epoch {reading.epoch}, group {reading.name!r}")


def _reading(connection: sa.Connection, **key: object) -> Reading:
    query = sa.select(*(readings.c[name] for name in _READING)).filter_by(**key)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(
            f"group {key['name']!r} reads no epoch {key['epoch']} of plan {key['plan']!r}; ask for a lease first"
        )
    return Reading(**row)

"""Any order of orders, claims, crashes and lost leases, played by two runners against a real database of either kind.

Laws: a run never has two owners; the fence never goes back; succeeded and cancelled are final; a unit is committed once
and stays; the history is an unbroken chain of lawful moves that ends in the present state.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from curator.catalog import Catalog, ClaimedRun, RunFault
from curator.catalog.schema import events, run_history, run_outputs, runs
from curator.errors import ConflictError, LeaseLostError
from curator.run import LAWFUL_MOVES, TERMINAL, Progress, RunRequest, RunState

S = RunState
REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
BROKEN = RunFault(code="run_failed", message="broken", resumable=True)
WORKING = {S.VALIDATING, S.RUNNING, S.FINALIZING, S.PAUSING, S.CANCELLING}
NEXT = {S.VALIDATING: S.RUNNING, S.RUNNING: S.FINALIZING, S.FINALIZING: S.SUCCEEDED}
MAX_ATTEMPTS = 3
EXAMPLES = os.environ.get("TEST_MACHINE_EXAMPLES")
"""How many plays; without it few, and the same ones every time."""


class RunMachine(RuleBasedStateMachine):
    opened: Catalog  # on a migrated database, emptied for every play
    made = Bundle("made")
    claims = Bundle("claims")  # every claim ever handed out: most are a zombie's sooner or later

    def __init__(self) -> None:
        super().__init__()
        self.catalog = self.opened
        with self.catalog.database.write() as connection:
            for table in (run_history, run_outputs, events, runs):
                connection.execute(sa.delete(table))
        self.owner: dict[str, ClaimedRun] = {}  # who may write, by our own reckoning
        self.fences: dict[str, int] = {}
        self.committed: dict[str, dict[int, Any]] = {}
        self.final: dict[str, RunState] = {}

    def _state(self, run_id: str) -> RunState:
        return self.catalog.runs.get("local", run_id).state

    def _claimed(self, claim: ClaimedRun) -> ClaimedRun:
        assert claim.id not in self.owner, "two owners"
        assert claim.fence > self.fences.get(claim.id, 0), "a new owner has a higher fence"
        self.owner[claim.id] = claim
        return claim

    def _holds(self, claim: ClaimedRun) -> bool:
        return self.owner.get(claim.id) == claim

    # --- people ---

    @rule(target=made)
    def create(self) -> str:
        return self.catalog.runs.create("local", REQUEST).id

    @rule(run=made, stop=st.sampled_from(["cancel", "pause"]))
    def order_stop(self, run: str, stop: Any) -> None:
        before = self._state(run)
        allowed = {
            "cancel": {*S} - {S.SUCCEEDED, S.FAILED},
            "pause": {S.VALIDATING, S.RUNNING, S.PAUSING, S.PAUSED},
        }[stop]
        if before not in allowed:
            with pytest.raises(ConflictError):
                self.catalog.runs.request_stop("local", run, stop)
        else:
            after = self.catalog.runs.request_stop("local", run, stop).state
            doing, done = (S.CANCELLING, S.CANCELLED) if stop == "cancel" else (S.PAUSING, S.PAUSED)
            assert after == (before if before in (doing, done) else doing if run in self.owner else done)

    @rule(run=made, order=st.sampled_from(["resume", "retry"]))
    def order_again(self, run: str, order: str) -> None:
        before = self.catalog.runs.get("local", run)
        if before.state not in ({S.FAILED, S.PAUSED} if order == "resume" else {S.FAILED}):
            with pytest.raises(ConflictError):
                getattr(self.catalog.runs, order)("local", run)
            return
        after = getattr(self.catalog.runs, order)("local", run)
        assert after.state == S.QUEUED
        assert after.attempt == before.attempt + (before.state == S.FAILED)
        if order == "retry":
            self.committed.pop(run, None)

    # --- runners ---

    @rule(target=claims, runner=st.sampled_from(["one", "two"]), most=st.sampled_from([None, 1, 2]))
    def claim(self, runner: str, most: int | None) -> Any:
        claim = self.catalog.runs.claim(runner, 60.0, most_per_tenant=most)
        if claim is None:
            now = self.catalog.database.clock()
            listed = self.catalog.runs.page("local", limit=1000).items
            ready = [
                run for run in listed if run.state == S.QUEUED and (run.not_before is None or run.not_before <= now)
            ]
            assert not ready or (most is not None and len(self.owner) >= most)
            return multiple()
        assert most is None or len(self.owner) < most
        return self._claimed(claim)

    @rule(target=claims, run=made)
    def claim_this(self, run: str) -> Any:
        resumable = self._state(run) in (S.QUEUED, S.PAUSED, S.FAILED)
        try:
            claim = self.catalog.runs.claim_this("local", run, "inline", 60.0)
        except ConflictError:
            assert not resumable
            return multiple()
        assert resumable
        return self._claimed(claim)

    @rule(claim=claims, rows=st.none() | st.integers(0, 9))
    def heartbeat(self, claim: ClaimedRun, rows: int | None) -> None:
        progress = None if rows is None else Progress(rows_done=rows)
        if not self._holds(claim):
            with pytest.raises(LeaseLostError):
                self.catalog.runs.heartbeat(claim, 60.0, progress)
            return
        assert self.catalog.runs.heartbeat(claim, 60.0, progress) == self._state(claim.id)
        if rows is not None:
            assert self.catalog.runs.get("local", claim.id).progress.rows_done == rows

    @rule(claim=claims, unit=st.integers(0, 3))
    def commit(self, claim: ClaimedRun, unit: int) -> None:
        outputs = {"unit": unit}
        if not self._holds(claim):
            with pytest.raises(LeaseLostError):
                self.catalog.outputs.commit(claim, "score", unit, {"zombie": claim.fence})
            return
        self.catalog.outputs.commit(claim, "score", unit, outputs)
        self.committed.setdefault(claim.id, {})[unit] = outputs

    @rule(claim=claims)
    def advance(self, claim: ClaimedRun) -> None:
        before = self._state(claim.id)
        to = NEXT.get(before, S.RUNNING)
        if not self._holds(claim):
            with pytest.raises(LeaseLostError):
                self.catalog.runs.move(claim, set(S), to)
        elif before not in NEXT:
            with pytest.raises(ConflictError):
                self.catalog.runs.move(claim, set(S), to)
        else:
            assert self.catalog.runs.move(claim, {before}, to).state == to
            if to == S.SUCCEEDED:
                del self.owner[claim.id]

    @rule(claim=consumes(claims), how=st.sampled_from(["fail", "release", "pause"]))
    def let_go(self, claim: ClaimedRun, how: str) -> None:
        def act() -> RunState:
            if how == "fail":
                return self.catalog.runs.fail(claim, BROKEN).state
            return self.catalog.runs.release(claim, how, pause=how == "pause").state

        if not self._holds(claim):
            with pytest.raises(LeaseLostError):
                act()
            return
        del self.owner[claim.id]
        assert act() not in WORKING

    @rule(run=made)
    def time_passes_and_a_lease_runs_out(self, run: str) -> None:
        """Whether the owner crashed or is only slow, nobody can tell; its claim stays around as a zombie's."""
        with self.catalog.database.write() as connection:
            late = runs.c.created_at - 1.0
            guard = sa.and_(runs.c.id == run, runs.c.lease_until.is_not(None))
            connection.execute(sa.update(runs).where(guard).values(lease_until=late))
        before = self.catalog.runs.get("local", run)
        reaped = self.catalog.runs.reap(MAX_ATTEMPTS)
        if run not in self.owner:
            assert reaped == []
            return
        del self.owner[run]
        (after,) = reaped
        used_up = before.attempt >= MAX_ATTEMPTS
        ends = {S.CANCELLING: S.CANCELLED, S.PAUSING: S.PAUSED}
        assert after.state == ends.get(before.state, S.FAILED if used_up else S.QUEUED)

    @rule(run=made)
    def an_owner_dies_and_is_seen_dead(self, run: str) -> None:
        """On its own host nobody waits for the lease; everything else it held is left alone."""
        claim = self.owner.get(run)
        before = self.catalog.runs.get("local", run)
        dead = {claim.owner} if claim is not None else set()
        reaped = {after.id: after for after in self.catalog.runs.reap(MAX_ATTEMPTS, is_dead=dead.__contains__)}
        assert set(reaped) == {held.id for held in self.owner.values() if held.owner in dead}
        for lost in reaped:
            del self.owner[lost]
        if claim is not None:
            used_up = before.attempt >= MAX_ATTEMPTS
            ends = {S.CANCELLING: S.CANCELLED, S.PAUSING: S.PAUSED}
            assert reaped[run].state == ends.get(before.state, S.FAILED if used_up else S.QUEUED)

    @rule(claim=claims, wait_s=st.sampled_from([-1.0, 60.0]))
    def it_fails_in_passing(self, claim: ClaimedRun, wait_s: float) -> None:
        """The next attempt starts no sooner than it was told."""
        if not self._holds(claim):
            with pytest.raises(LeaseLostError):
                self.catalog.runs.release(claim, "in passing", again_in_s=wait_s)
            return
        before = self._state(claim.id)
        del self.owner[claim.id]
        after = self.catalog.runs.release(claim, "in passing", again_in_s=wait_s)
        ends = {S.CANCELLING: S.CANCELLED, S.PAUSING: S.PAUSED}
        assert after.state == ends.get(before, S.QUEUED)
        assert after.attempt == claim.attempt + (after.state == S.QUEUED)

    # --- laws ---

    @invariant()
    def laws(self) -> None:
        for run in self.catalog.runs.page("local", limit=1000).items:
            assert (run.state in WORKING) == (run.id in self.owner) == (run.lease_owner is not None)
            if run.id in self.owner:
                assert (run.lease_owner, run.fence) == (self.owner[run.id].owner, self.owner[run.id].fence)
            assert run.fence >= self.fences.get(run.id, 0), "the fence never goes back"
            self.fences[run.id] = run.fence
            assert self.final.get(run.id, run.state) == run.state, "final is final"
            if run.state in TERMINAL - {S.FAILED}:
                self.final[run.id] = run.state
            assert self.catalog.outputs.of_step(run.id, "score") == self.committed.get(run.id, {})

    @invariant()
    def the_history_is_a_chain(self) -> None:
        told_of = self.catalog.events.after("local", 0, limit=1000)
        assert [event.sequence for event in told_of] == sorted({event.sequence for event in told_of})
        for run in self.catalog.runs.page("local", limit=1000).items:
            steps = self.catalog.runs.history("local", run.id)
            assert (steps[0].from_state, steps[0].to_state, steps[-1].to_state) == (None, S.QUEUED, run.state)
            for before, after in pairwise(steps):
                assert after.from_state == before.to_state
                assert after.to_state in LAWFUL_MOVES[before.to_state]
                assert after.fence >= before.fence
            told = [event.data["to_state"] for event in told_of if (event.subject, event.kind) == (run.id, "run.state")]
            assert told == [step.to_state for step in steps]


def play(catalog: Catalog, examples: int) -> None:
    machine = type("Machine", (RunMachine,), {"opened": catalog})
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=EXAMPLES is None,
            suppress_health_check=quiet,
            database=None,
        ),
    )


@pytest.mark.timeout(3600)
def test_the_machine(sqlite: Catalog) -> None:
    play(sqlite, int(EXAMPLES or 30))


@pytest.mark.timeout(3600)
def test_the_machine_on_postgresql(postgresql: Catalog) -> None:
    play(postgresql, int(EXAMPLES or 12))

"""Any order of orders, claims, crashes and lost leases, played by two runners against a real SQLite file.

Laws: a run never has two owners; the fence never goes back; succeeded and cancelled are final; a unit is committed once
and stays; the history is an unbroken chain of lawful moves that ends in the present state.
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
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
from curator.catalog.schema import runs
from curator.errors import ConflictError, LeaseLostError
from curator.run import LAWFUL_MOVES, TERMINAL, Progress, RunRequest, RunState

S = RunState
REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
BROKEN = RunFault(code="run_failed", message="broken", resumable=True)
WORKING = {S.VALIDATING, S.RUNNING, S.FINALIZING, S.PAUSING, S.CANCELLING}
NEXT = {S.VALIDATING: S.RUNNING, S.RUNNING: S.FINALIZING, S.FINALIZING: S.SUCCEEDED}
MAX_ATTEMPTS = 3


class RunMachine(RuleBasedStateMachine):
    template: Path  # a migrated file to copy
    made = Bundle("made")
    claims = Bundle("claims")  # every claim ever handed out: most are a zombie's sooner or later

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="winnow-machine-"))
        shutil.copy(self.template, self.folder / "winnow.db")
        self.catalog = Catalog.open(f"sqlite:///{self.folder / 'winnow.db'}")
        self.owner: dict[str, ClaimedRun] = {}  # who may write, by our own reckoning
        self.fences: dict[str, int] = {}
        self.committed: dict[str, dict[int, Any]] = {}
        self.final: dict[str, RunState] = {}

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

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

    @rule(target=claims, runner=st.sampled_from(["one", "two"]))
    def claim(self, runner: str) -> Any:
        claim = self.catalog.runs.claim(runner, 60.0)
        if claim is None:
            assert S.QUEUED not in {run.state for run in self.catalog.runs.page("local", limit=1000).items}
            return multiple()
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
        events = self.catalog.events.after("local", 0, limit=1000)
        assert [event.sequence for event in events] == sorted({event.sequence for event in events})
        for run in self.catalog.runs.page("local", limit=1000).items:
            steps = self.catalog.runs.history("local", run.id)
            assert (steps[0].from_state, steps[0].to_state, steps[-1].to_state) == (None, S.QUEUED, run.state)
            for before, after in pairwise(steps):
                assert after.from_state == before.to_state
                assert after.to_state in LAWFUL_MOVES[before.to_state]
                assert after.fence >= before.fence
            told = [event.data["to_state"] for event in events if (event.subject, event.kind) == (run.id, "run.state")]
            assert told == [step.to_state for step in steps]


def test_the_machine(empty_catalog: Path) -> None:
    machine = type("Machine", (RunMachine,), {"template": empty_catalog})
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=quiet
        ),
    )

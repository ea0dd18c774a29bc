"""A run's journal in the catalog: each step's unit is committed once, by the owner of the fence, or not at all.

Knows nothing of what the outputs mean; they are small JSON values (file names, counts) of the steps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa

from curator.catalog.database import Database, insert_new, now
from curator.catalog.schema import run_outputs, runs
from curator.catalog.transitions import held
from curator.digest import canonical_json
from curator.errors import IntegrityError, LeaseLostError, RetryableError
from curator.patience import patiently
from curator.run import Progress, RunState, StopRequest

if TYPE_CHECKING:
    from curator.catalog import Catalog
    from curator.catalog.run_records import ClaimedRun

__all__ = ["ASKED", "CatalogJournal", "Outputs"]

T = TypeVar("T")

ASKED: Final[dict[RunState, StopRequest]] = {RunState.CANCELLING: "cancel", RunState.PAUSING: "pause"}
"""What a state asks the run's owner to do."""


class Outputs:
    """What the steps of runs have committed."""

    def __init__(self, database: Database):
        self._db = database

    def of_step(self, run_id: str, step: str) -> dict[int, dict[str, Any]]:
        """Committed outputs of a step by unit."""
        query = sa.select(run_outputs.c.unit, run_outputs.c.outputs).where(
            run_outputs.c.run == run_id, run_outputs.c.step == step
        )
        with self._db.read() as connection:
            return {unit: outputs for unit, outputs in connection.execute(query.order_by(run_outputs.c.unit))}

    def unfinished(self, step: str) -> list[dict[str, Any]]:
        """What a step committed in runs that may still go on, of all tenants."""
        ended = (RunState.SUCCEEDED, RunState.CANCELLED)
        query = sa.select(run_outputs.c.outputs).join(runs, runs.c.id == run_outputs.c.run)
        with self._db.read() as connection:
            return list(
                connection.execute(query.where(run_outputs.c.step == step, runs.c.state.not_in(ended))).scalars()
            )

    def commit(self, run: ClaimedRun, step: str, unit: int, outputs: dict[str, Any]) -> None:
        """Records a unit in one transaction that checks the fence; the same commit again changes nothing.

        Raises LeaseLostError when the run is no longer this runner's, IntegrityError when the unit was committed
        with other outputs (equal input gives equal output, so one of the two is wrong), ValueError for outputs that
        are not JSON (NaN, infinity).
        """
        key, given = {"run": run.id, "step": step, "unit": unit}, canonical_json(outputs)
        with self._db.write() as connection:
            held(connection, run.id, run.fence)
            values = {**key, "fence": run.fence, "outputs": outputs, "committed_at": now()}
            if insert_new(connection, run_outputs, **values):
                return
            stored = connection.execute(sa.select(run_outputs.c.outputs).filter_by(**key)).scalar_one()
        if canonical_json(stored) != given:
            raise IntegrityError(
                f"run {run.id}, step {step!r}, unit {unit} was committed as {stored!r} and is now {outputs!r}; "
                "the first stays. Equal input must give equal output: retry the run from the start"
            )


class CatalogJournal:
    """The `Journal` of one claimed run; threads may share it.

    Progress is held back to one write in `progress_every_s` seconds, the state is read at most once in
    `stop_poll_s`. A catalog that does not answer is waited for up to `patience_s` seconds, the run's work standing
    still meanwhile; its lease may run out then, but nobody else can take it without the catalog either. `shutdown` is
    set when this process was told to end.
    """

    def __init__(
        self,
        catalog: Catalog,
        run: ClaimedRun,
        *,
        lease_s: float,
        shutdown: threading.Event | None = None,
        progress_every_s: float = 1.0,
        stop_poll_s: float = 0.25,
        patience_s: float = 0.0,
    ):
        self.run = run
        self._catalog, self._lease_s = catalog, lease_s
        self._shutdown = shutdown or threading.Event()
        self._progress_every_s, self._stop_poll_s, self._patience_s = progress_every_s, stop_poll_s, patience_s
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._pending: Progress | None = None
        self._written_at = self._read_at = float("-inf")
        self._state = RunState.VALIDATING
        self._lost: LeaseLostError | None = None

    def done(self, step: str) -> dict[int, dict[str, Any]]:
        """Committed outputs of a step by unit."""
        return self.patiently(lambda: self._catalog.outputs.of_step(self.run.id, step))

    def commit(self, step: str, unit: int, outputs: dict[str, Any]) -> None:
        """See `Outputs.commit`; after the lease was lost once nothing is tried any more."""
        self._check()
        with self._noting_loss():
            self.patiently(lambda: self._catalog.outputs.commit(self.run, step, unit, outputs))

    def patiently(self, call: Callable[[], T]) -> T:
        """What `call` returns, made again while the catalog does not answer. Raises RetryableError when patience is
        over or the process was told to end."""
        return patiently(call, self._patience_s, self._shutdown)

    def progress(self, progress: Progress) -> None:
        """Publishes where the run stands, at most once a second; the heartbeat brings what was held back."""
        self._check()
        with self._lock:
            self._pending = progress
            due = time.monotonic() - self._written_at >= self._progress_every_s
        if due:
            with suppress(RetryableError):  # the next one brings it
                self.heartbeat()

    def stop_requested(self) -> StopRequest | None:
        """What was asked for: the system's shutdown, or a person's cancel or pause. Raises LeaseLostError."""
        self._check()
        if self._shutdown.is_set():
            return "shutdown"
        with self._lock:
            due = time.monotonic() - self._read_at >= self._stop_poll_s
            if due:
                self._read_at = time.monotonic()
        if due:
            with self._noting_loss():
                self._state = self._catalog.runs.state(self.run)
        return ASKED.get(self._state)

    def heartbeat(self) -> RunState:
        """Renews the lease and writes the progress that was held back; what does not get through is held back on.
        Raises LeaseLostError."""
        with self._writing:  # one at a time, or an older progress could be written over a newer one
            with self._lock:
                pending, self._pending = self._pending, None
                self._written_at = time.monotonic()
            try:
                with self._noting_loss():
                    self._state = self._catalog.runs.heartbeat(self.run, self._lease_s, pending)
            except Exception:
                with self._lock:
                    self._pending = self._pending or pending  # unless there is newer by now
                raise
            return self._state

    def flush(self) -> None:
        """Writes the progress that was held back, if any. Raises LeaseLostError."""
        with self._lock:
            waiting = self._pending is not None
        if waiting:
            self.heartbeat()

    def _check(self) -> None:
        if self._lost is not None:
            raise LeaseLostError(str(self._lost))

    def _noting_loss(self) -> _NotingLoss:
        return _NotingLoss(self)


class _NotingLoss:
    """Remembers a lost lease, so that every later call of the journal refuses without asking the database."""

    def __init__(self, journal: CatalogJournal):
        self._journal = journal

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LeaseLostError):
            self._journal._lost = error

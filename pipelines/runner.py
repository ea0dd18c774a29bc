"""The runner: a process that takes queued runs, training jobs and exports from the catalog, one at a time.

Knows nothing of what they do (`execute.py`, `training/entry.py`, `exporting.py`) or of HTTP. It can be killed at any
moment: whatever it held is taken over when its lease runs out, and what it committed is not done again.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from curator.catalog import LOCAL_TENANT, Catalog, CatalogJournal, ClaimedJob, ClaimedRun, RunFault
from curator.catalog.outputs import ASKED
from curator.errors import (
    ConflictError,
    IntegrityError,
    LeaseLostError,
    RequestError,
    RetryableError,
    StoppedError,
    WinnowError,
)
from curator.run import RunRequest, RunState, RunSummary
from curator.settings import Settings
from curator.storage import Store
from pipelines.exporting import export_once
from pipelines.lease import JobLease, beating, is_dead, owner_name
from pipelines.registering import register

__all__ = ["Execute", "Export", "Runner", "Train", "main", "run_here", "shelving", "train_claimed"]

Execute = Callable[[ClaimedRun, CatalogJournal, Settings], RunSummary]
"""The work of one run: `pipelines.execute.execute`. It asks `journal.stop_requested()` between work units and raises
StoppedError with the answer."""

Train = Callable[[Catalog, JobLease, Settings], object]
"""The training of one claimed job: `train_claimed`. It writes into the job's row how it ended, and stops early when
`lease.should_stop()` says so."""

Export = Callable[[Catalog, Settings, str, threading.Event], bool]
"""The writing of one export: `pipelines.exporting.export_once`."""

log: Final = logging.getLogger(__name__)
_TIDY_EVERY_S, _EVENTS_KEPT_S = 3600.0, 7 * 86400.0


class Runner:
    """Claims and works until told to stop. `execute` does the work of one run, `train` that of one training job,
    `export` that of one export; without `train` or `export` those are left to others."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        execute: Execute,
        train: Train | None = None,
        export: Export | None = None,
    ):
        self.settings, self.catalog, self.execute, self.train, self.export = settings, catalog, execute, train, export
        self.owner = owner_name()
        self._shutdown = threading.Event()
        self._claimed: ClaimedRun | ClaimedJob | None = None
        self._faults, self._train_at, self._tidy_at = 0, float("-inf"), float("-inf")

    def stop(self) -> None:
        """Claims nothing more; the run at hand is asked to stop and goes back to the queue."""
        self._shutdown.set()

    def run_forever(self) -> None:
        """Returns after `stop`. A catalog that does not answer is asked again after `poll_s`."""
        while not self._shutdown.is_set():
            try:
                self._tidy()
                worked = self.run_once() or self.train_once() or self.export_once()
            except RetryableError as error:
                log.warning("the catalog is out of reach, asking again: %s", error)
                worked = False
            if not worked:
                self._shutdown.wait(self.settings.poll_s)

    def run_once(self) -> bool:
        """Takes lost runs away from dead runners, then works on one run if there is one. False: nothing to do."""
        for run in self.catalog.runs.reap(self.settings.max_attempts, is_dead=is_dead):
            log.warning("run %s was lost by its runner and is %s now (attempt %d)", run.id, run.state, run.attempt)
        claimed = self.catalog.runs.claim(self.owner, self.settings.lease_s)
        if claimed is None:
            return False
        log.info("run %s: attempt %d begins", claimed.id, claimed.attempt)
        journal = CatalogJournal(self.catalog, claimed, lease_s=self.settings.lease_s, shutdown=self._shutdown)
        self._claimed = claimed
        try:
            _work(self.catalog, claimed, journal, self.execute, self.settings, again=True)
            log.info("run %s: succeeded", claimed.id)
        except WinnowError as error:
            log.warning("run %s: %s", claimed.id, error)
        except Exception:
            log.exception("run %s stopped on an error nobody foresaw", claimed.id)
        finally:
            self._claimed = None
        return True

    def train_once(self) -> bool:
        """Takes lost jobs away from dead runners, then trains one if there is one. False: nothing to do. After a
        passing fault, which puts the job back in the queue, no job is begun for a while."""
        if self.train is None or self._shutdown.is_set() or time.monotonic() < self._train_at:
            return False
        for lost in self.catalog.jobs.reap(self.settings.max_attempts, is_dead=is_dead):
            log.warning("job %s was lost by its runner and is %s now (attempt %d)", lost.id, lost.state, lost.attempt)
        job = self.catalog.jobs.claim(self.owner, self.settings.lease_s)
        if job is None:
            return False
        log.info("training job %s: attempt %d begins", job.id, job.attempt)
        lease = JobLease(self.catalog, job, self.settings.lease_s, self._shutdown)
        self._claimed = job
        try:
            with beating(lease, self.settings.heartbeat_s):
                self.train(self.catalog, lease, self.settings)
            self._faults = 0
        except RetryableError as error:
            self._faults += 1
            self._train_at = time.monotonic() + _wait_s(self._faults)
            log.warning("training job %s: %s", job.id, error)
        except WinnowError as error:
            log.warning("training job %s: %s", job.id, error)
        except Exception:
            log.exception("training job %s stopped on an error nobody foresaw", job.id)
        finally:
            self._claimed = None
            with suppress(LeaseLostError):  # it has ended, which is the rule
                self.catalog.jobs.release(job)
        return True

    def export_once(self) -> bool:
        """Writes one export if there is one. False: nothing to do."""
        if self.export is None or self._shutdown.is_set():
            return False
        return self.export(self.catalog, self.settings, self.owner, self._shutdown)

    def _tidy(self) -> None:
        """Forgets old events and answered idempotency keys, and sweeps what killed processes left, once an hour."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + _TIDY_EVERY_S
        _sweep(self.settings)
        self.catalog.events.prune(_EVENTS_KEPT_S)
        self.catalog.idempotency.prune()

    def abandon(self) -> None:
        """Gives the run or job at hand back although its work goes on: the last act before the process ends. What
        that work still tries to commit is refused."""
        claimed = self._claimed
        if isinstance(claimed, ClaimedRun):
            self.catalog.runs.release(claimed, "the runner's grace period was over")
        elif claimed is not None:
            self.catalog.jobs.release(claimed)


def run_here(
    catalog: Catalog,
    settings: Settings,
    execute: Execute | None = None,
    *,
    request: RunRequest | None = None,
    resume: str | None = None,
    tenant: str = LOCAL_TENANT,
    on_claimed: Callable[[ClaimedRun], None] | None = None,
) -> RunSummary:
    """One run in this process without a server: made and claimed in one step, so that no runner on this root takes
    it. `execute` defaults to the real work. `resume` names an earlier run (or `last`) to go on with, instead of a
    `request`.

    Ctrl-C and SIGTERM stop it between two work units and leave it paused. Raises StoppedError then, NotFoundError or
    ConflictError when there is nothing to resume, LeaseLostError, and whatever `execute` raises once the run's row
    says failed. To resume a run that succeeded is to be told its summary: who was killed just after it may not know.
    """
    if (request is None) == (resume is None):
        raise RequestError("give either a request for a new run or the run to resume")
    act, shutdown, owner = execute or _execute(catalog), threading.Event(), owner_name()
    _sweep(settings)
    with _signals(shutdown.set):
        if request is not None:
            claimed = catalog.runs.create_claimed(tenant, request, owner, settings.lease_s)
        else:
            earlier = catalog.runs.last(tenant) if resume == "last" else catalog.runs.get(tenant, str(resume))
            if earlier.summary is not None:
                return earlier.summary
            claimed = catalog.runs.claim_this(tenant, earlier.id, owner, settings.lease_s, is_dead=is_dead)
        if on_claimed is not None:
            on_claimed(claimed)
        journal = CatalogJournal(catalog, claimed, lease_s=settings.lease_s, shutdown=shutdown)
        return _work(catalog, claimed, journal, act, settings, pause=True)


def _work(
    catalog: Catalog,
    claimed: ClaimedRun,
    journal: CatalogJournal,
    execute: Execute,
    settings: Settings,
    *,
    pause: bool = False,
    again: bool = False,
) -> RunSummary:
    """A claimed run from validating to its end, whatever that is; its row says so before anything is raised.

    Stopped: released (`pause`: to paused rather than the queue). A passing fault: queued anew with `again`.
    """
    try:
        with beating(journal, settings.heartbeat_s):
            _advance(catalog, claimed, RunState.VALIDATING, RunState.RUNNING)
            summary = execute(claimed, journal, settings)
            journal.heartbeat()  # the last progress, before the state that ends it
            _advance(catalog, claimed, RunState.RUNNING, RunState.FINALIZING)
            _advance(catalog, claimed, RunState.FINALIZING, RunState.SUCCEEDED, summary=summary)
            return summary
    except LeaseLostError:
        raise
    except StoppedError as stopped:
        catalog.runs.release(claimed, f"stopped: {stopped.request}", pause=pause)
        raise
    except RetryableError as error:
        if not again or claimed.attempt >= settings.max_attempts:
            catalog.runs.fail(claimed, _fault(error))
        else:
            wait_s = _wait_s(claimed.attempt)
            catalog.runs.release(claimed, f"trying again in {wait_s:g} s: {error}", again_in_s=wait_s)
        raise
    except Exception as error:
        catalog.runs.fail(claimed, _fault(error))
        raise
    except BaseException:  # a second Ctrl-C, or sys.exit
        catalog.runs.release(claimed, "interrupted", pause=pause)
        raise


def _sweep(settings: Settings) -> None:
    """Unfinished files of killed processes go; those of living ones, of this root's other runs too, stay."""
    try:
        swept = Store.open(settings.root).sweep()
    except (OSError, WinnowError) as error:
        log.warning("what killed processes left in %s could not be swept: %s", settings.root, error)
        return
    if swept:
        log.info("swept %d unfinished files of killed processes", swept)


def _advance(
    catalog: Catalog, claimed: ClaimedRun, from_state: RunState, to: RunState, summary: RunSummary | None = None
) -> None:
    """The next state, unless somebody asked for a stop meanwhile. Raises StoppedError then, LeaseLostError."""
    try:
        catalog.runs.move(claimed, {from_state}, to, reason=f"{from_state} done", summary=summary)
    except ConflictError as error:
        asked = ASKED.get(catalog.runs.state(claimed))
        if asked is None:
            raise
        raise StoppedError(asked) from error


def _fault(error: Exception) -> RunFault:
    """What the run's row says. Going on can mend everything but a wrong request and wrong bytes."""
    resumable = not isinstance(error, RequestError | IntegrityError)
    if isinstance(error, WinnowError):
        return RunFault(code=error.code, message=str(error), resumable=resumable)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFault(code="disk_full", message=f"no space left: {error}; free some and resume", resumable=True)
    return RunFault(code="internal", message=f"{type(error).__name__}: {error}", resumable=True)


def _wait_s(times: int) -> float:
    """Seconds to wait after a passing fault that happened `times` times: 2, 4, 8 … 60."""
    return min(2.0**times, 60.0)


def train_claimed(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
    """The real training of a claimed job. Loads torch."""
    from pipelines.training.entry import run_job

    run_job(
        catalog,
        settings,
        lease.job.id,
        tenant=lease.job.tenant,
        resume=True,
        should_stop=lease.should_stop,
        on_step=lambda step: lease.progress(step=step.step, total_steps=step.total_steps, loss=step.loss),
    )


def _execute(catalog: Catalog) -> Execute:
    """The real work, loaded only by a process that does it (torch and ray come with it)."""
    from pipelines.execute import execute

    return shelving(catalog, execute)


def shelving(catalog: Catalog, execute: Execute) -> Execute:
    """The same work; what it makes is in the register before the run counts as succeeded."""

    def work(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        summary = execute(claimed, journal, settings)
        register(catalog, Store.open(settings.root), claimed, summary)
        return summary

    return work


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C call `stop` the first time; the second time they do what they did before. Signals are only
    heard in the main thread: in another one this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def heard(number: int, frame: object) -> None:
        restore()
        stop()

    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        restore()


def _end(runner: Runner, grace_s: float) -> None:
    """Stops the runner; work that has not stopped after `grace_s` is given back and the process ends under it."""

    def cut() -> None:
        log.warning("the grace period of %g s is over, ending now", grace_s)
        try:
            runner.abandon()
        finally:
            os._exit(3)

    runner.stop()
    timer = threading.Timer(grace_s, cut)
    timer.daemon = True
    timer.start()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m pipelines.runner [--root DIR]`: works until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.runner", description="Works on queued Winnow runs, training jobs and exports."
    )
    parser.add_argument("--root", help="where runs, shards and manifests lie (default: WINNOW_ROOT, ./winnow-data)")
    parser.add_argument("--once", action="store_true", help="work on one run, training job or export at most, then end")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment(root=options.root)
        catalog = Catalog.open(settings.database_url)
    except WinnowError as error:
        print(f"winnow runner: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 3
    with catalog:
        runner = Runner(settings, catalog, _execute(catalog), train_claimed, export_once)
        with _signals(partial(_end, runner, settings.grace_s)):
            if options.once:
                _ = runner.run_once() or runner.train_once() or runner.export_once()
            else:
                runner.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

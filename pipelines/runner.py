"""The runner: a process that takes queued runs, training jobs, exports and rewrites from the catalog, one at a time.

Knows nothing of what they do (`execute.py`, `training/entry.py`, `exporting.py`, `rewriting.py`) or of HTTP. It can be
killed at any moment: whatever it held is taken over when its lease runs out, and what it committed is not done again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

from curator.catalog import Catalog, ClaimedJob, ClaimedRun
from curator.errors import LeaseLostError, RequestError, RetryableError, WinnowError
from curator.log_lines import configure_logs, telling
from curator.process import has_ended
from curator.settings import Settings
from curator.tracing import Attributes, span, tracing
from pipelines.attempt import Execute, attempt, journal_of, wait_s
from pipelines.courier import Courier
from pipelines.exporting import export_once
from pipelines.grace import cut_off_after, told_to_end
from pipelines.lease import JobLease, beating, is_dead, owner_name
from pipelines.purging import purge_due
from pipelines.registering import shelved_work
from pipelines.rewriting import rewrite_once
from pipelines.tidying import tidy

__all__ = ["Runner", "Train", "Write", "main", "train_claimed"]

Train = Callable[[Catalog, JobLease, Settings], object]
"""The training of one claimed job: `train_claimed`. It writes into the job's row how it ended, and stops early when
`lease.should_stop()` says so."""

Write = Callable[[Catalog, Settings, str, threading.Event], bool]
"""The writing of one export (`export_once`), or of shards anew (`rewrite_once`), if there is one."""

log: Final = logging.getLogger(__name__)
_TIDY_EVERY_S: Final = 3600.0
_PURGE_EVERY_S: Final = 60.0


class Runner:
    """Claims and works until told to stop. `execute` does the work of one run, `train` that of one training job,
    `write` that of one export or rewrite each; what it is not given is left to others."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        execute: Execute,
        train: Train | None = None,
        *write: Write,
    ):
        self.settings, self.catalog, self.execute, self.train, self.write = settings, catalog, execute, train, write
        self.owner = owner_name()
        self._shutdown = threading.Event()
        self._claimed: ClaimedRun | ClaimedJob | None = None
        self._faults, self._train_at, self._tidy_at = 0, float("-inf"), float("-inf")
        self._purge_at = float("-inf")
        self._turn = 0

    def stop(self) -> None:
        """Claims nothing more; the run at hand is asked to stop and goes back to the queue."""
        self._shutdown.set()

    def run_forever(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Returns after `stop`, or once `ended` says so between two pieces of work. A catalog that does not answer is
        asked again after `poll_s`."""
        while not (self._shutdown.is_set() or ended()):
            try:
                self._tidy()
                worked = self.work_once()
            except RetryableError as error:
                log.warning("the catalog is out of reach, asking again: %s", error)
                worked = False
            if not worked:
                self._shutdown.wait(self.settings.poll_s)

    def work_once(self) -> bool:
        """Does one piece of work if there is one, of whatever kind. The kinds take turns: after each piece the others
        come first, so that a queue which never ends keeps none of them waiting. False: nothing to do."""
        writing: list[Callable[[], bool]] = [partial(self._write_once, write) for write in self.write]
        kinds = [self.run_once, self.train_once, *writing]
        for turn in range(self._turn, self._turn + len(kinds)):
            if kinds[turn % len(kinds)]():
                self._turn = turn + 1
                return True
        return False

    def run_once(self) -> bool:
        """Takes lost runs away from dead runners, then works on one run if there is one. False: nothing to do."""
        for run in self.catalog.runs.reap(self.settings.max_attempts, is_dead=is_dead):
            log.warning("run %s was lost by its runner and is %s now (attempt %d)", run.id, run.state, run.attempt)
        most = self.settings.tenant_runs
        claimed = self.catalog.runs.claim(self.owner, self.settings.lease_s, most_per_tenant=most)
        if claimed is None:
            return False
        with telling(run=claimed.id):
            self._attempt(claimed)
        return True

    def _attempt(self, claimed: ClaimedRun) -> None:
        log.info("run %s: attempt %d begins", claimed.id, claimed.attempt)
        journal = journal_of(self.catalog, claimed, self.settings, self._shutdown)
        self._claimed = claimed
        try:
            attempt(self.catalog, claimed, journal, self.execute, self.settings, again=True)
            log.info("run %s: succeeded", claimed.id)
        except WinnowError as error:
            log.warning("run %s: %s", claimed.id, error)
        except Exception:
            log.exception("run %s stopped on an error nobody foresaw", claimed.id)
        finally:
            self._claimed = None

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
        with telling(training_job=job.id):
            self._train(self.train, job)
        return True

    def _train(self, train: Train, job: ClaimedJob) -> None:
        log.info("training job %s: attempt %d begins", job.id, job.attempt)
        lease = JobLease(self.catalog, job, self.settings.lease_s, self._shutdown)
        self._claimed = job
        try:
            about: Attributes = {"winnow.id": job.id, "winnow.attempt": job.attempt}
            with span("train", about, kind="consumer"), beating(lease, self.settings.heartbeat_s):
                train(self.catalog, lease, self.settings)
            self._faults = 0
        except RetryableError as error:
            self._faults += 1
            self._train_at = time.monotonic() + wait_s(self._faults)
            log.warning("training job %s: %s", job.id, error)
        except WinnowError as error:
            log.warning("training job %s: %s", job.id, error)
        except Exception:
            log.exception("training job %s stopped on an error nobody foresaw", job.id)
        finally:
            self._claimed = None
            with suppress(LeaseLostError):  # it has ended, which is the rule
                self.catalog.jobs.release(job)

    def _write_once(self, write: Write) -> bool:
        return not self._shutdown.is_set() and write(self.catalog, self.settings, self.owner, self._shutdown)

    def _tidy(self) -> None:
        """Purges once a minute; the rest once an hour, after the first purge: what it leaves is swept."""
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGE_EVERY_S
            purge_due(self.catalog, self.settings)
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_EVERY_S
            tidy(self.catalog, self.settings)

    def end_within(self, grace_s: float) -> None:
        """Stops; work that has not stopped after `grace_s` seconds is given back and the process ends under it."""
        self.stop()
        cut_off_after(grace_s, self.abandon)

    def abandon(self) -> None:
        """Gives the run or job at hand back although its work goes on: the last act before the process ends. What
        that work still tries to commit is refused."""
        claimed = self._claimed
        if isinstance(claimed, ClaimedRun):
            self.catalog.runs.release(claimed, "the runner's grace period was over")
        elif claimed is not None:
            self.catalog.jobs.release(claimed)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m pipelines.runner [--root DIR]`: works until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.runner",
        description="Works on queued Winnow runs, training jobs, exports and rewrites.",
    )
    parser.add_argument("--root", help="where runs, shards and manifests lie (default: WINNOW_ROOT, ./winnow-data)")
    parser.add_argument(
        "--beside", metavar="PROCESS", help="end once this process has ended and the work at hand is done"
    )
    parser.add_argument("--once", action="store_true", help="do one piece of work at most, then end")
    options, traces = parser.parse_args(arguments), ExitStack()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment(root=options.root)
        configure_logs(settings.log_format)
        traces.enter_context(tracing(settings, "winnow-runner"))
        catalog = Catalog.open(settings.database_url)
    except WinnowError as error:
        print(f"winnow runner: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 3
    with catalog:
        runner = Runner(settings, catalog, shelved_work(catalog), train_claimed, export_once, rewrite_once)
        ended = told_to_end(partial(runner.end_within, settings.grace_s))
        with traces, Courier(catalog, settings), ended:
            if options.once:
                runner.work_once()
            else:
                runner.run_forever(partial(has_ended, options.beside or ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())

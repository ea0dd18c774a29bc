"""The runner: a process that takes queued runs from the catalog and works on them one at a time.

Knows nothing of what a run does (`pipelines/execute.py`) or of HTTP. It can be killed at any moment: whatever it held
is taken over when its lease runs out, and what it committed is not done again.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from curator.catalog import LOCAL_TENANT, Catalog, CatalogJournal, ClaimedRun
from curator.errors import RequestError, RetryableError, StoppedError, WinnowError
from curator.run import Progress, RunRequest, RunState, RunSummary
from curator.settings import Settings
from pipelines.journal import Execute, is_dead, owner_name, work

__all__ = ["Runner", "main", "run_here"]

log: Final = logging.getLogger(__name__)


class Runner:
    """Claims and works until told to stop. `execute` does the work of one run."""

    def __init__(self, settings: Settings, catalog: Catalog, execute: Execute):
        self.settings, self.catalog, self.execute = settings, catalog, execute
        self.owner = owner_name()
        self._shutdown = threading.Event()

    def stop(self) -> None:
        """Claims nothing more; the run at hand is asked to stop and goes back to the queue."""
        self._shutdown.set()

    def run_forever(self) -> None:
        """Returns after `stop`. A catalog that does not answer is asked again after `poll_s`."""
        while not self._shutdown.is_set():
            try:
                worked = self.run_once()
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
        journal = CatalogJournal(
            self.catalog, claimed, lease_s=self.settings.lease_s, shutdown=self._shutdown
        )
        try:
            work(self.catalog, claimed, journal, self.execute, self.settings)
        except WinnowError as error:
            log.warning("run %s: %s", claimed.id, error)
        except Exception:
            log.exception("run %s stopped on an error nobody foresaw", claimed.id)
        return True


def run_here(
    catalog: Catalog,
    settings: Settings,
    request: RunRequest | None,
    *,
    execute: Execute | None = None,
    resume: str | None = None,
    tenant: str = LOCAL_TENANT,
    recipe_digest: str | None = None,
    on_claimed: Callable[[ClaimedRun], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """One run in this process without a server: made and claimed in one step, so that no runner on this root takes
    it. `resume` names an earlier run (or `last`) to go on with instead of `request`.

    Ctrl-C and SIGTERM stop it between two work units and leave it paused. Raises StoppedError then, NotFoundError or
    ConflictError when there is nothing to resume, LeaseLostError, and whatever `execute` raises once the run's row
    says failed.
    """
    if (request is None) == (resume is None):
        raise RequestError("give either a request for a new run or the run to resume")
    shutdown, owner = threading.Event(), owner_name()
    if request is not None:
        claimed = catalog.runs.create_claimed(tenant, request, owner, settings.lease_s, recipe_digest=recipe_digest)
    else:
        claimed = catalog.runs.claim_this(tenant, str(resume), owner, settings.lease_s, is_dead=is_dead)
    if on_claimed is not None:
        on_claimed(claimed)
    journal = CatalogJournal(catalog, claimed, lease_s=settings.lease_s, shutdown=shutdown, on_progress=on_progress)
    with _signals(shutdown.set):
        return work(catalog, claimed, journal, execute or _execute(), settings, pause=True, again=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m pipelines.runner [--root DIR]`: works until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.runner", description="Works on queued Winnow runs.")
    parser.add_argument("--root", help="where runs, shards and manifests lie (default: WINNOW_ROOT, ./winnow-data)")
    parser.add_argument("--once", action="store_true", help="work on at most one run, then end")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_env(root=options.root)
        catalog = Catalog.open(settings.catalog_url)
    except WinnowError as error:
        print(f"winnow runner: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 3
    with catalog:
        runner = Runner(settings, catalog, _execute())
        with _signals(runner.stop):
            _ = runner.run_once() if options.once else runner.run_forever()
    return 0

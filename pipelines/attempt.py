"""One attempt at a claimed run: from validating to its end, whatever that is. The run's row says how it ended.

Knows the catalog's runs and the kinds of error; nothing of what the work does or who claimed it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, RunFault
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
from curator.run import RunState, RunSummary
from curator.settings import Settings
from curator.tracing import Attributes, span
from pipelines.lease import beating

__all__ = ["Execute", "attempt", "journal_of", "wait_s"]

Execute = Callable[[ClaimedRun, CatalogJournal, Settings], RunSummary]
"""The work of one run: `pipelines.execute.execute`. It asks `journal.stop_requested()` while it works and raises
StoppedError with the answer."""


def attempt(
    catalog: Catalog,
    claimed: ClaimedRun,
    journal: CatalogJournal,
    execute: Execute,
    settings: Settings,
    *,
    pause: bool = False,
    again: bool = False,
) -> RunSummary:
    """Works on the run. Raises what the work raised, once the run's row says how it ended.

    Stopped: released (`pause`: to paused rather than the queue). A passing fault: queued anew with `again`.
    """
    about: Attributes = {
        "winnow.run": claimed.id,
        "winnow.attempt": claimed.attempt,
        "winnow.engine": claimed.request.engine,
    }
    try:
        with (
            span("run", about, kind="consumer", parent=claimed.request.traceparent) as told,
            beating(journal, settings.heartbeat_s),
        ):
            _advance(catalog, journal, RunState.VALIDATING, RunState.RUNNING)
            summary = execute(claimed, journal, settings)
            journal.patiently(journal.heartbeat)  # the last progress, before the state that ends it
            _advance(catalog, journal, RunState.RUNNING, RunState.FINALIZING)
            _advance(catalog, journal, RunState.FINALIZING, RunState.SUCCEEDED, summary=summary)
            told.tell(
                {"winnow.manifest": summary.manifest, "winnow.rows": summary.rows_in, "winnow.kept": summary.kept}
            )
            return summary
    except LeaseLostError:
        raise
    except StoppedError as stopped:
        reason = f"stopped: {stopped.request}"
        journal.patiently(lambda: catalog.runs.release(claimed, reason, pause=pause))
        raise
    except RetryableError as error:
        if not again or claimed.attempt >= settings.max_attempts:
            catalog.runs.fail(claimed, _fault(error))
        else:
            pause_s = wait_s(claimed.attempt)
            catalog.runs.release(claimed, f"trying again in {pause_s:g} s: {error}", again_in_s=pause_s)
        raise
    except Exception as error:
        fault = _fault(error)
        journal.patiently(lambda: catalog.runs.fail(claimed, fault))
        raise
    except BaseException:  # a second Ctrl-C, or sys.exit
        catalog.runs.release(claimed, "interrupted", pause=pause)
        raise


def journal_of(catalog: Catalog, claimed: ClaimedRun, settings: Settings, shutdown: threading.Event) -> CatalogJournal:
    """The journal of a claimed run; `shutdown` is set when this process was told to end."""
    return CatalogJournal(catalog, claimed, lease_s=settings.lease_s, shutdown=shutdown, patience_s=settings.outage_s)


def wait_s(times: int) -> float:
    """Seconds to wait after a passing fault that happened `times` times: 2, 4, 8 … 60."""
    return min(2.0**times, 60.0)


def _advance(
    catalog: Catalog, journal: CatalogJournal, from_state: RunState, to: RunState, summary: RunSummary | None = None
) -> None:
    """The next state, unless somebody asked for a stop meanwhile. Raises StoppedError then, LeaseLostError."""
    run, reason = journal.run, f"{from_state} done"
    try:
        journal.patiently(lambda: catalog.runs.move(run, {from_state}, to, reason=reason, summary=summary))
    except ConflictError as error:
        state = journal.patiently(lambda: catalog.runs.state(run))
        if state == to:
            return  # the move went through, its answer did not
        asked = ASKED.get(state)
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

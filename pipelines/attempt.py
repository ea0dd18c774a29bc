"""One attempt at a claimed run: from validating to its end, whatever that is. The run's row says how it ended.

Knows the catalog's runs and the kinds of error; nothing of what the work does or who claimed it.
"""

from __future__ import annotations

import errno
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
from pipelines.lease import beating

__all__ = ["Execute", "attempt", "wait_s"]

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
            pause_s = wait_s(claimed.attempt)
            catalog.runs.release(claimed, f"trying again in {pause_s:g} s: {error}", again_in_s=pause_s)
        raise
    except Exception as error:
        catalog.runs.fail(claimed, _fault(error))
        raise
    except BaseException:  # a second Ctrl-C, or sys.exit
        catalog.runs.release(claimed, "interrupted", pause=pause)
        raise


def wait_s(times: int) -> float:
    """Seconds to wait after a passing fault that happened `times` times: 2, 4, 8 … 60."""
    return min(2.0**times, 60.0)


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

"""One run in this process without a server: made, or gone on with, and worked on where it was asked for.

Knows the catalog and an attempt; nothing of terminals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from curator.catalog import LOCAL_TENANT, Catalog, ClaimedRun
from curator.errors import RequestError
from curator.run import RunRequest, RunSummary
from curator.settings import Settings
from curator.tracing import tracing
from pipelines.attempt import Execute, attempt, journal_of
from pipelines.grace import told_to_end
from pipelines.lease import is_dead, owner_name
from pipelines.registering import shelved_work
from pipelines.tidying import sweep_unfinished

__all__ = ["run_here"]


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
    """Made and claimed in one step, so that no runner on this root takes it. `execute` defaults to the real work.
    `resume` names an earlier run (or `last`) to go on with, instead of a `request`.

    Ctrl-C and SIGTERM stop it between two work units and leave it paused. Raises StoppedError then, NotFoundError or
    ConflictError when there is nothing to resume, LeaseLostError, and whatever `execute` raises once the run's row
    says failed. To resume a run that succeeded is to be told its summary: who was killed just after it may not know.
    """
    if (request is None) == (resume is None):
        raise RequestError("give either a request for a new run or the run to resume")
    act, shutdown, owner = execute or shelved_work(catalog), threading.Event(), owner_name()
    sweep_unfinished(settings)
    with tracing(settings, "winnow-curate"), told_to_end(shutdown.set):
        if request is not None:
            claimed = catalog.runs.create_claimed(tenant, request, owner, settings.lease_s)
        else:
            earlier = catalog.runs.last(tenant) if resume == "last" else catalog.runs.get(tenant, str(resume))
            if earlier.summary is not None:
                return earlier.summary
            claimed = catalog.runs.claim_this(tenant, earlier.id, owner, settings.lease_s, is_dead=is_dead)
        if on_claimed is not None:
            on_claimed(claimed)
        journal = journal_of(catalog, claimed, settings, shutdown)
        return attempt(catalog, claimed, journal, act, settings, pause=True)

"""Everything that takes a while, in one form: runs, training jobs, exports and rewrites.

Knows the catalog's four kinds of work and what they have in common: a state, progress, a fault, an end. Their ids
carry the time of birth, so one list of them all is in its order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, Literal

from api.bodies import VersionedView, View
from api.run_views import poll_after_ms, without_root
from api.service import Service
from curator.catalog import Export, JobState, Page, Rewrite, Run, TrainingJob
from curator.catalog.paging import decode_cursor, encode_cursor
from curator.errors import NotFoundError
from curator.run import TERMINAL

__all__ = ["Kind", "OperationList", "OperationView", "operation", "operations_page"]

Kind = Literal["run", "training_job", "export", "rewrite"]
_BUSY: Final = (JobState.QUEUED, JobState.RUNNING)
_PREFIXES: Final[dict[str, Kind]] = {"run": "run", "trn": "training_job", "exp": "export", "rwr": "rewrite"}


class OperationView(VersionedView):
    """`state` is the resource's own; `done`: nothing will change by itself any more. `resource`: where all of it is
    told."""

    id: str
    kind: Kind
    state: str
    done: bool
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    resource: str
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    poll_after_ms: int | None


class OperationList(View):
    """Newest first."""

    items: tuple[OperationView, ...]
    next_cursor: str | None
    poll_after_ms: int


def operation(service: Service, tenant: str, operation_id: str) -> OperationView:
    """A run's, a training job's, an export's or a rewrite's id. Raises NotFoundError."""
    kind = _PREFIXES.get(operation_id.partition("_")[0])
    if kind == "run":
        return _run(service, service.catalog.runs.get(tenant, operation_id))
    if kind == "training_job":
        return _job(service, service.catalog.jobs.get(tenant, operation_id))
    if kind == "export":
        return _export(service, service.catalog.exports.get(tenant, operation_id))
    if kind == "rewrite":
        return _rewrite(service, service.catalog.rewrites.get(tenant, operation_id))
    raise NotFoundError(
        f"there is no operation {operation_id!r}; ids of runs, training jobs, exports and rewrites are operations"
    )


def operations_page(
    service: Service, tenant: str, *, kind: Kind | None, cursor: str | None, limit: int
) -> OperationList:
    """The newest of all kinds (or of one) after the cursor. Raises RequestError for a foreign cursor."""
    after = None if cursor is None else str(decode_cursor(cursor, [str])[0])
    catalog = service.catalog
    pages: dict[str, tuple[Callable[..., Page[Any]], Callable[[Service, Any], OperationView]]] = {
        "run": (catalog.runs.page, _run),
        "trn": (catalog.jobs.page, _job),
        "exp": (catalog.exports.page, _export),
        "rwr": (catalog.rewrites.page, _rewrite),
    }
    found: list[OperationView] = []
    more = False
    for prefix, (page_of, view) in pages.items():
        if kind in (None, _PREFIXES[prefix]):
            own = None if after is None else encode_cursor([f"{prefix}_{after}"])
            page = page_of(tenant, cursor=own, limit=limit)
            more = more or page.next_cursor is not None
            found += [view(service, row) for row in page.items]
    found.sort(key=_born, reverse=True)
    items = tuple(found[:limit])
    busy = any(not item.done for item in items)
    following = encode_cursor([_born(items[-1])]) if items and (more or len(found) > limit) else None
    return OperationList(items=items, next_cursor=following, poll_after_ms=1000 if busy else 3000)


def _born(item: OperationView) -> str:
    """The part of an id that sorts by time of birth."""
    return item.id.partition("_")[2]


def _run(service: Service, run: Run) -> OperationView:
    fault = None if run.error is None else run.error.model_dump(mode="json")
    progress = run.progress.model_dump(mode="json", include={"phase", "rows_done", "rows_total"})
    return _view(service, "run", f"/v1/runs/{run.id}", run, run.state in TERMINAL, progress, fault).model_copy(
        update={"poll_after_ms": poll_after_ms(run.state)}
    )


def _job(service: Service, job: TrainingJob) -> OperationView:
    done = job.state not in _BUSY
    return _view(service, "training_job", f"/v1/training-jobs/{job.id}", job, done, job.progress, job.error)


def _export(service: Service, export: Export) -> OperationView:
    done = export.state not in _BUSY
    return _view(service, "export", f"/v1/exports/{export.id}", export, done, export.progress, export.error)


def _rewrite(service: Service, row: Rewrite) -> OperationView:
    done = row.state not in _BUSY
    return _view(service, "rewrite", f"/v1/rewrites/{row.id}", row, done, row.progress, row.error)


def _view(
    service: Service,
    kind: Kind,
    resource: str,
    row: Run | TrainingJob | Export | Rewrite,
    done: bool,
    progress: dict[str, Any] | None,
    error: dict[str, Any] | None,
) -> OperationView:
    return OperationView(
        id=row.id,
        kind=kind,
        state=row.state.value,
        done=done,
        progress=progress,
        error=without_root(error, service.store),
        resource=resource,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        poll_after_ms=None if done else 1000,
    )

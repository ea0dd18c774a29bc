"""What callers see of a run: where it stands, how much it kept and why, and when to look again.

Knows the catalog's runs; leaves out leases, owners and the server's paths.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable
from typing import Any, Final, Literal

from api.bodies import VersionedView, View
from api.replies import body_tag
from api.service import Service
from api.submission import submission_of
from curator.catalog import Run, RunFault, Step
from curator.errors import NotFoundError
from curator.recipe import parse
from curator.run import TERMINAL, Progress, RunState, RunSummary
from curator.storage import Store
from curator.verdict import POLICY_REASONS

__all__ = [
    "PARTS",
    "RunErrors",
    "RunList",
    "RunMetrics",
    "RunView",
    "list_body",
    "metrics_view",
    "run_body",
    "run_errors",
    "run_list",
    "run_view",
    "without_root",
]

PARTS: Final = ("run", "metrics", "errors")
"""What is told of one run; each is the same as long as the row's version is."""

_POLL_MS = {RunState.QUEUED: 1000, RunState.PAUSED: 5000}


class Links(View):
    self: str
    events: str
    metrics: str
    errors: str
    decisions: str
    manifest: str | None


class RunView(VersionedView):
    """`dataset` and `recipe` as submitted, null for a run made without a server (`task`, `engine` and
    `seed` are null when another version of Winnow stored the request); `version` is the ETag.
    `poll_after_ms`: when to ask again, null when nothing will change by itself."""

    id: str
    state: RunState
    priority: int
    attempt: int
    dataset: str | None
    dataset_name: str | None
    dataset_version: int | None
    trusted: str | None
    feedback: tuple[str, ...]
    recipe: str | None
    recipe_digest: str
    task: str | None
    engine: Literal["inline", "ray"] | None
    seed: int | None
    progress: Progress
    summary: RunSummary | None
    error: RunFault | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    poll_after_ms: int | None
    links: Links


class RunList(View):
    items: tuple[RunView, ...]
    next_cursor: str | None
    poll_after_ms: int


class RunMetrics(View):
    """Counts in rows. `actions`: relabelled rows are kept too. `difficulty`, `scorecard` and `encoder` are known at
    the end. `meanings`: what the recipe's operators and its policy mean by each of `reasons`."""

    run: str
    state: RunState
    phase: str
    rows_total: int
    rows_done: int
    actions: dict[str, int]
    reasons: dict[str, int]
    meanings: dict[str, str]
    difficulty: dict[str, int] | None
    seconds: float | None
    seconds_by_phase: dict[str, float]
    bytes_in_flight: int
    blocked_on: str | None
    peak_rss_bytes: int | None
    policy: str | None
    scorecard: dict[str, Any] | None
    encoder: Any
    warnings: tuple[str, ...]
    poll_after_ms: int | None


class RunError(View):
    at: dt.datetime
    attempt: int
    state: RunState
    message: str


class RunErrors(View):
    """`error`: why the run stands still now. `items`: every failure and lost attempt, oldest first."""

    run: str
    error: RunFault | None
    items: tuple[RunError, ...]
    poll_after_ms: int | None


def poll_after_ms(state: RunState) -> int | None:
    return None if state in TERMINAL else _POLL_MS.get(state, 500)


def run_list(
    service: Service, tenant: str, *, cursor: str | None, limit: int, states: Collection[RunState] | None
) -> RunList:
    """A page of the tenant's runs, newest first."""
    page = service.catalog.runs.page(tenant, cursor=cursor, limit=limit, states=states)
    items = tuple(run_view(run, service.store) for run in page.items)
    busy = any(item.poll_after_ms for item in items)
    return RunList(items=items, next_cursor=page.next_cursor, poll_after_ms=1000 if busy else 3000)


def list_body(service: Service, tenant: str, *, limit: int) -> tuple[str, bytes]:
    """(ETag, JSON) of the first page."""
    body = run_list(service, tenant, cursor=None, limit=limit, states=None).model_dump_json().encode()
    return body_tag(body), body


def run_body(service: Service, run: Run, part: str) -> bytes:
    """JSON of one of `PARTS`; its ETag is the row's version."""
    return _view(service, run, part).model_dump_json().encode()


def _view(service: Service, run: Run, part: str) -> View:
    if part == "metrics":
        return metrics_view(run, service.store)
    if part == "errors":
        return run_errors(run, service.catalog.runs.history(run.tenant, run.id), service.store)
    return run_view(run, service.store)


def run_view(run: Run, store: Store) -> RunView:
    words = submission_of(store, run.id)
    here = f"/v1/runs/{run.id}"
    asked = run.request.recipe if run.request else {}
    return RunView(
        id=run.id,
        state=run.state,
        priority=run.priority,
        attempt=run.attempt,
        dataset=words.dataset if words else None,
        dataset_name=words.dataset_name if words else None,
        dataset_version=words.dataset_version if words else None,
        trusted=words.trusted if words else None,
        feedback=words.feedback if words else (),
        recipe=words.recipe if words else None,
        recipe_digest=run.recipe_digest,
        task=asked.get("task"),
        engine=run.request.engine if run.request else None,
        seed=asked.get("seed"),
        progress=run.progress,
        summary=_summary(run),
        error=_fault(run, store),
        version=run.version,
        created_at=run.created_at,
        updated_at=run.updated_at,
        poll_after_ms=poll_after_ms(run.state),
        links=Links(
            self=here,
            events=f"{here}/events",
            metrics=f"{here}/metrics",
            errors=f"{here}/errors",
            decisions=f"{here}/decisions",
            manifest=f"/v1/manifests/{run.summary.manifest}" if run.summary else None,
        ),
    )


def metrics_view(run: Run, store: Store) -> RunMetrics:
    counted = run.summary or run.progress
    report = _report(store, run) if run.state == RunState.SUCCEEDED else {}
    return RunMetrics(
        run=run.id,
        state=run.state,
        phase=run.progress.phase,
        rows_total=run.summary.rows_in if run.summary else run.progress.rows_total,
        rows_done=run.summary.rows_in if run.summary else run.progress.rows_done,
        actions={"keep": counted.kept, "drop": counted.dropped, "relabel": counted.relabeled},
        reasons=counted.reasons,
        meanings=_meanings(run, counted.reasons),
        difficulty=run.summary.difficulty if run.summary else None,
        seconds=run.summary.seconds if run.summary else None,
        seconds_by_phase=counted.seconds_by_phase,
        bytes_in_flight=run.progress.bytes_in_flight if run.summary is None else 0,
        blocked_on=run.progress.blocked_on if run.summary is None else None,
        peak_rss_bytes=run.summary.peak_rss_bytes if run.summary else None,
        policy=run.summary.policy if run.summary else None,
        scorecard=report.get("scorecard"),
        encoder=report.get("encoder"),
        warnings=run.summary.warnings if run.summary else (),
        poll_after_ms=poll_after_ms(run.state),
    )


def run_errors(run: Run, history: list[Step], store: Store) -> RunErrors:
    stops = (RunState.FAILED, RunState.LOST)
    items = tuple(
        RunError(at=step.at, attempt=step.attempt, state=step.to_state, message=without_root(step.reason, store))
        for step in history
        if step.to_state in stops
    )
    return RunErrors(run=run.id, error=_fault(run, store), items=items, poll_after_ms=poll_after_ms(run.state))


def _summary(run: Run) -> RunSummary | None:
    """With the ledger's address in place of its folder on the server."""
    if run.summary is None:
        return None
    return run.summary.model_copy(update={"ledger": f"/v1/runs/{run.id}/decisions"})


def _fault(run: Run, store: Store) -> RunFault | None:
    if run.error is None:
        return None
    return run.error.model_copy(update={"message": without_root(run.error.message, store)})


def without_root(told: Any, store: Store) -> Any:
    """A message, or the messages inside a JSON value, without the server's root folder in them."""
    if isinstance(told, str):
        return told.replace(f"{store.base}/", "")
    if isinstance(told, dict):
        return {key: without_root(value, store) for key, value in told.items()}
    return [without_root(value, store) for value in told] if isinstance(told, list) else told


def _meanings(run: Run, reasons: Iterable[str]) -> dict[str, str]:
    known = parse(run.request.recipe).reasons if run.request else POLICY_REASONS
    return {name: known[name] for name in reasons if name in known}


def _report(store: Store, run: Run) -> dict[str, Any]:
    try:
        return json.loads(store.read_bytes(f"runs/{run.id}/report.json"))
    except NotFoundError:
        return {}

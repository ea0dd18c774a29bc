"""Overturning verdicts and the trail it leaves: who changed what, when, and from which manifest to which.

Knows manifests, ledgers and the run's `overrides/` folder, which is only ever added to; nothing of HTTP.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from api.auth import Caller
from api.bodies import View
from api.ledger_pages import ledger_of, sample_bytes, verdict_on
from api.manifest_shelf import known_manifest, shelve
from api.service import Service
from curator.catalog import Run
from curator.catalog.ids import new_id
from curator.errors import ConflictError, NotFoundError, RequestError
from curator.run import RunState
from curator.shards import Override, override
from curator.storage import Store

__all__ = ["Overridden", "SampleHistory", "overturn", "sample_history"]


class Overridden(View):
    """The new manifest; `live` counts its rows by difficulty."""

    manifest: str
    parent: str
    run: str
    changed: int
    live: dict[str, int]
    at: dt.datetime


class Trail(BaseModel):
    """One act of overturning, as kept in `runs/<run>/overrides/`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str
    parent: str
    by: str
    note: str
    at: dt.datetime
    changes: tuple[Override, ...]


class Change(View):
    manifest: str
    by: str
    note: str
    at: dt.datetime
    change: Override


class RunVerdict(View):
    run: str
    at: dt.datetime
    verdict: dict[str, Any]
    overrides: tuple[Change, ...]


class SampleHistory(View):
    sample_id: str
    items: tuple[RunVerdict, ...]
    next_cursor: str | None


def overturn(
    service: Service, caller: Caller, run: Run, changes: Sequence[Override], *, base: str | None, note: str
) -> Overridden:
    """A child of `base` (default: the run's newest manifest) with the changes.

    Raises ConflictError for an unfinished run, NotFoundError for samples in no shard, RequestError for labels that do
    not fit or a manifest of another run.
    """
    parent = known_manifest(service, caller.tenant, base or _newest(service, caller.tenant, run))
    if base is not None and run.id not in {
        row.run for row in service.catalog.manifests.lineage(caller.tenant, parent.id)
    }:
        raise RequestError(f"manifest {base} does not come from run {run.id}; name one of its own")
    child = override(parent, service.store, changes)
    shelve(service, caller.tenant, child, run=run.id)
    service.catalog.aliases.follow(caller.tenant, parent.id, child.id, by=caller.name)
    trail = Trail(
        manifest=child.id,
        parent=parent.id,
        by=caller.name,
        note=note,
        at=service.catalog.database.clock(),
        changes=tuple(changes),
    )
    service.store.write_bytes(f"{_folder(run.id)}/{new_id('ovr')}.json", trail.model_dump_json(indent=1).encode())
    easy, medium, hard = child.live
    live = {"easy": easy, "medium": medium, "hard": hard}
    return Overridden(manifest=child.id, parent=parent.id, run=run.id, changed=len(changes), live=live, at=trail.at)


def sample_history(
    service: Service, tenant: str, sample_id: str, *, run_id: str | None, cursor: str | None, limit: int
) -> SampleHistory:
    """Verdicts on a sample by run, newest first. Raises RequestError for a malformed id; NotFoundError when the run
    named has no such sample."""
    raw = sample_bytes(sample_id)
    if run_id is not None:
        found = _in_run(service, service.catalog.runs.get(tenant, run_id), raw)
        if found is None:
            raise NotFoundError(f"run {run_id} has no sample {sample_id}; take ids from its decisions")
        return SampleHistory(sample_id=sample_id, items=(found,), next_cursor=None)
    page = service.catalog.runs.page(tenant, cursor=cursor, limit=limit, states=[RunState.SUCCEEDED])
    items = tuple(found for run in page.items if (found := _in_run(service, run, raw)) is not None)
    return SampleHistory(sample_id=sample_id, items=items, next_cursor=page.next_cursor)


def _in_run(service: Service, run: Run, sample_id: bytes) -> RunVerdict | None:
    verdict = verdict_on(ledger_of(service.store, run), sample_id)
    if verdict is None:
        return None
    name = sample_id.hex()
    changes = tuple(
        Change(manifest=trail.manifest, by=trail.by, note=trail.note, at=trail.at, change=change)
        for trail in _trails(service.store, run.id)
        for change in trail.changes
        if change.sample_id == name
    )
    return RunVerdict(run=run.id, at=run.updated_at, verdict=verdict, overrides=changes)


def _newest(service: Service, tenant: str, run: Run) -> str:
    """The run's own manifest, or the child its last override made."""
    if run.summary is None:
        raise ConflictError(f"run {run.id} is {run.state}; its decisions can be overturned once it has succeeded")
    trails = _trails(service.store, run.id)
    return trails[-1].manifest if trails else run.summary.manifest


def _trails(store: Store, run_id: str) -> list[Trail]:
    """Oldest first: their names are sortable ids."""
    return [Trail.model_validate_json(store.read_bytes(name)) for name in store.list(_folder(run_id))]


def _folder(run_id: str) -> str:
    return f"runs/{run_id}/overrides"

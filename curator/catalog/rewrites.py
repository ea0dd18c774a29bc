"""Rewrites: rows written once more in a better place, as jobs a runner works on.

`compact`: a manifest's small shards merged under a child. `pack`: an epoch's rows in the order they are consumed. Knows
nothing of shards, nor of how such work is kept (queued.py).
"""

from __future__ import annotations

from typing import Literal

from curator.catalog.database import Database, hold_manifests
from curator.catalog.ids import new_id
from curator.catalog.leased import Claim, JobState, Work
from curator.catalog.manifests import manifest_row
from curator.catalog.queued import QueuedWork
from curator.catalog.schema_plans import rewrites

__all__ = ["ClaimedRewrite", "Rewrite", "RewriteKind", "Rewrites"]

RewriteKind = Literal["compact", "pack"]


class Rewrite(Work):
    """`plan` and `epoch` of a pack. `result`, once it has succeeded: {manifest, shards, shards_before}."""

    kind: RewriteKind
    manifest: str
    plan: str | None
    epoch: int | None


class ClaimedRewrite(Claim):
    """A rewrite that is this process's to do, as long as the fence holds."""

    kind: RewriteKind
    manifest: str
    plan: str | None
    epoch: int | None


class Rewrites(QueuedWork[Rewrite, ClaimedRewrite]):
    def __init__(self, database: Database):
        super().__init__(database, rewrites, Rewrite, ClaimedRewrite, noun="rewrite", event="rewrite.state")

    def create(
        self,
        tenant: str,
        kind: RewriteKind,
        manifest: str,
        *,
        plan: str | None = None,
        epoch: int | None = None,
        rewrite_id: str | None = None,
    ) -> Rewrite:
        """A queued rewrite. A reserved id makes one. Raises NotFoundError for a manifest that is not there."""
        values = {"kind": kind, "manifest": manifest, "plan": plan, "epoch": epoch}
        values |= {"id": rewrite_id or new_id("rwr"), "tenant": tenant}
        with self._db.write() as connection:
            hold_manifests(connection)
            manifest_row(connection, tenant, manifest)
            return self._leases.add_in(connection, **values, state=JobState.QUEUED)

"""One rewrite, worked on by a runner: shards merged under a child manifest, or an epoch packed.

Knows the catalog's rewrites and the root; how shards are written is `curator`'s. What it writes is named by its
content, so one that was lost and goes on all the same disturbs nobody.
"""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

from curator.catalog import Catalog, ClaimedRewrite, Rewrite
from curator.catalog.shelf import shelve
from curator.client.packing import pack
from curator.epochs.adaptive import Adaptive
from curator.epochs.curriculum import Mix
from curator.epochs.plan import EpochPlan
from curator.settings import Settings
from curator.shards import Manifest, ShardReader
from curator.shards.compaction import compact
from curator.storage import Store
from pipelines.queued import WorkLease, turn

__all__ = ["rewrite_once"]

RewriteLease: TypeAlias = WorkLease[Rewrite, ClaimedRewrite]


def rewrite_once(catalog: Catalog, settings: Settings, owner: str, shutdown: threading.Event) -> bool:
    """Takes lost rewrites away from dead runners, then does one if there is one; its row says how it ended. False:
    nothing to do."""
    store = Store.open(settings.root)

    def do(lease: RewriteLease) -> dict[str, Any]:
        manifest = Manifest.load(store, lease.claimed.manifest)
        act = _compacted if lease.claimed.kind == "compact" else _packed
        return act(catalog, store, manifest, lease)

    return turn("rewrite", catalog.rewrites, settings, owner, shutdown, do)


def _compacted(catalog: Catalog, store: Store, manifest: Manifest, lease: RewriteLease) -> dict[str, Any]:
    """The child is in the register, and `latest` goes on to it, before the rewrite counts as done."""
    rows, claimed = sum(info.rows for info in manifest.shards), lease.claimed
    child = compact(manifest, store, on_rows=lambda done: lease.progress(done, rows))
    if child.id != manifest.id:
        run = catalog.manifests.get(claimed.tenant, manifest.id).run
        shelve(catalog.manifests, store, claimed.tenant, child, run=run)
        lease.heartbeat()  # cancelled meanwhile, no name moves
        catalog.aliases.follow(claimed.tenant, manifest.id, child.id, by=claimed.id)
    return _result(child, manifest)


def _packed(catalog: Catalog, store: Store, manifest: Manifest, lease: RewriteLease) -> dict[str, Any]:
    claimed = lease.claimed
    assert claimed.plan is not None and claimed.epoch is not None
    plan, epoch = EpochPlan.model_validate(catalog.plans.get(claimed.tenant, claimed.plan).plan), claimed.epoch
    if isinstance(plan.curriculum, Adaptive):
        decided = catalog.plans.epochs(claimed.tenant, claimed.plan)
        plan = plan.model_copy(update={"recorded": tuple(Mix(**each.ratios) for each in decided)})
    rows = plan.num_positions(epoch)
    record = pack(plan, manifest, ShardReader(store), store, epoch, on_rows=lambda done: lease.progress(done, rows))
    packed = Manifest.load(store, record.manifest)
    run = catalog.manifests.get(claimed.tenant, manifest.id).run  # which it goes with, when that is deleted
    shelve(catalog.manifests, store, claimed.tenant, packed, run=run)
    return _result(packed, manifest)


def _result(made: Manifest, before: Manifest) -> dict[str, Any]:
    return {"manifest": made.id, "shards": len(made.shards), "shards_before": len(before.shards)}

"""What a finished run leaves in the register: its manifest with every shard, and the policy it learned.

Knows the catalog and the run's files; nothing of how either was made. Doing it again changes nothing.
"""

from __future__ import annotations

from typing import Final

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, PolicyVersion
from curator.catalog.shelf import shelve
from curator.digest import sha256_hex
from curator.run import RunSummary
from curator.settings import Settings
from curator.shards.manifest import Manifest
from curator.storage import Store
from pipelines.attempt import Execute
from pipelines.phases import SET_UNIT

__all__ = ["WEIGHTS", "policy_name", "register", "shelved_work", "shelving"]

WEIGHTS: Final = "judge.safetensors"
"""The file of a policy's folder that holds its weights."""


def shelved_work(catalog: Catalog) -> Execute:
    """The real work of a run, loaded only by a process that does it (torch and ray come with it)."""
    from pipelines.execute import execute

    return shelving(catalog, execute)


def shelving(catalog: Catalog, execute: Execute) -> Execute:
    """The same work; what it makes is in the register before the run counts as succeeded."""

    def work(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        summary = execute(claimed, journal, settings)
        register(catalog, Store.open(settings.root), claimed, summary)
        return summary

    return work


def register(catalog: Catalog, store: Store, claimed: ClaimedRun, summary: RunSummary) -> PolicyVersion | None:
    """Enters the manifest, and the policy if the run learned one; returns its version then. Raises NotFoundError when
    the run's files are not there."""
    shelve(catalog.manifests, store, claimed.tenant, Manifest.load(store, summary.manifest), run=claimed.id)
    learned = catalog.outputs.of_step(claimed.id, "learn").get(SET_UNIT)
    if learned is None or not learned["judge"]:
        return None  # rules decided: there are no weights
    folder = f"runs/{claimed.id}/judge"
    return catalog.policies.record(
        claimed.tenant,
        policy_name(claimed),
        learned["policy"],
        task=str(claimed.request.recipe["task"]),
        run=claimed.id,
        recipe_digest=claimed.recipe_digest,
        path=folder,
        sha256=sha256_hex(store.read_bytes(f"{folder}/{WEIGHTS}")),
        scorecard={name: value for name, value in learned["scorecard"].items() if name != "review"},
    )


def policy_name(claimed: ClaimedRun) -> str:
    """Policies of one recipe are versions of one name: the task and the start of the recipe's digest. More data, other
    trusted rows or feedback make another version; another recipe is another policy."""
    return f"{claimed.request.recipe['task']}-{claimed.recipe_digest.rpartition('_')[2][:12]}"

"""Opening a review of a finished run: choose the rows, find where they lie, write the queue down.

Knows runs, ledgers, manifests and the queue's table; nothing of HTTP or of who reviews.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from curator.catalog.review_records import NewItem, ReviewQueue
from curator.errors import ConflictError, NotFoundError
from curator.ledger import Ledger
from curator.plain import plain
from curator.recipe import Recipe, parse
from curator.review import ReviewSettings, choose
from curator.run import RunState
from curator.shards import Manifest, ShardReader
from curator.storage import Store

if TYPE_CHECKING:
    from curator.catalog import Catalog, Run

__all__ = ["open_review", "recipe_of", "trusted_rows"]

_WHOLE_SET = -1
"""The unit under which a whole-set step commits (`pipelines.phases.SET_UNIT`)."""


def open_review(
    catalog: Catalog, store: Store, run: Run, settings: ReviewSettings, *, queue_id: str | None = None
) -> ReviewQueue:
    """The run's queue with these settings; opened if it is not there yet.

    Raises ConflictError for a run that has not succeeded, or one without a row to ask about.
    """
    if run.state != RunState.SUCCEEDED or run.summary is None:
        raise ConflictError(f"run {run.id} is {run.state}; its rows can be reviewed once it has succeeded")
    chosen = settings.model_dump(mode="json")
    found = catalog.reviews.find(run.tenant, run.id, chosen)
    if found is not None:
        return found
    manifest, ledger = Manifest.load(store, run.summary.manifest), Ledger(store, run.id)
    asked = choose(ledger, settings, trusted_rows(store, run.id)["sample_id"].combine_chunks())
    if not asked.why:
        raise ConflictError(
            f"run {run.id} has no row to ask about: every row's truth is known, it used none, or looking at none pays "
            f"(min_worth {settings.min_worth:g}, audit_share {settings.audit_share:g})"
        )
    ids = asked.rows["sample_id"].combine_chunks()
    places = ShardReader(store).locate(manifest, ids)
    rows = zip(asked.rows.to_pylist(), asked.why, asked.num_reviewers, places.tolist(), strict=True)
    items = [
        NewItem(
            sample_id=row["sample_id"].hex(),
            why=why,
            num_reviewers=people,
            shard=shard,
            row=place,
            verdict={name: plain(value) for name, value in row.items()},
        )
        for row, why, people, (shard, place) in rows
    ]
    about = _about(catalog, run, ledger, manifest)
    return catalog.reviews.open(run.tenant, run.id, chosen, about, items, queue_id=queue_id)


def recipe_of(run: Run) -> Recipe:
    """The recipe a run was made with. Raises ConflictError when another version of Winnow stored it."""
    if run.request is None:
        raise ConflictError(f"run {run.id} was stored by another version of Winnow and cannot be reviewed by this one")
    return parse(run.request.recipe)


def trusted_rows(store: Store, run_id: str) -> pa.Table:
    """(sample_id binary(16), truth int64) of the run's own trusted sample; no rows without one."""
    try:
        with store.open_input(f"runs/{run_id}/trusted.arrow") as source:
            return pa.ipc.open_file(source).read_all()
    except NotFoundError:
        return pa.schema([("sample_id", pa.binary(16)), ("truth", pa.int64())]).empty_table()


def _about(catalog: Catalog, run: Run, ledger: Ledger, manifest: Manifest) -> dict[str, Any]:
    """What stays true of the queue: where its rows lie, and which labels the data knows."""
    recipe = recipe_of(run)
    named = "id" if recipe.columns.id == "auto" else recipe.columns.id
    validated = catalog.outputs.of_step(run.id, "validate").get(_WHOLE_SET, {})
    return {
        "manifest": manifest.id,
        "task": recipe.task,
        "id": named if "id" in ledger.schema.names else None,
        "label": manifest.label,
        "content": list(recipe.content_columns),
        "classes": [plain(value) for value in validated.get("classes", [])] if manifest.label else [],
    }

"""Match: the candidates whose later row is of this unit are compared. Knows duplicate indexes, no text."""

from __future__ import annotations

from typing import Any

from curator.duplicates import SIMILARITY_FLOOR
from pipelines.job import Job
from pipelines.lineage import Lineage, edges_batch, edges_kind

__all__ = ["match"]


def match(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the unit's verified pairs, by content and by whatever else is compared. Returns {pairs}."""
    if not job.recipe.set_operators:
        return {"pairs": 0}
    pairs = 0
    for by, index in Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).indexes.items():
        batch = edges_batch(index.match(unit, SIMILARITY_FLOOR))
        with job.side_writer(unit, edges_kind(by), batch.schema) as writer:
            writer.write_batch(batch)
        pairs += batch.num_rows
    return {"pairs": pairs}

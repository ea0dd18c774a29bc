"""Match: the candidates whose later row is of this unit are compared. Knows the duplicate index, no text."""

from __future__ import annotations

from typing import Any

from curator.duplicates import SIMILARITY_FLOOR
from pipelines.job import Job
from pipelines.lineage import Lineage, edges_batch

__all__ = ["match"]


def match(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the unit's verified pairs. Returns {pairs}."""
    if not job.recipe.set_operators:
        return {"pairs": 0}
    edges = Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).index.match(unit, SIMILARITY_FLOOR)
    with job.side_writer(unit, "edges", edges_batch(edges).schema) as writer:
        writer.write_batch(edges_batch(edges))
    return {"pairs": len(edges.a)}

"""Seek: rows that share a key of the duplicate index, a range of keys at a time. Knows the index, no text."""

from __future__ import annotations

from typing import Any

from pipelines.job import Job
from pipelines.lineage import Lineage

__all__ = ["num_shards", "seek"]


def num_shards(job: Job, outputs: dict[str, Any]) -> int:
    """Parts of the work; none where the recipe looks for no duplicates."""
    if not job.recipe.set_operators:
        return 0
    return Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).index.num_shards


def seek(job: Job, shard: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the shard's candidate pairs. Returns {pairs}."""
    return {"pairs": Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).index.seek(shard)}

"""Seek: rows that share a key of a duplicate index, a range of keys of an index at a time. Knows indexes, no text."""

from __future__ import annotations

from typing import Any

from curator.duplicates import DuplicateIndex, VectorIndex
from pipelines.job import Job
from pipelines.lineage import Lineage

__all__ = ["num_shards", "seek"]


def num_shards(job: Job, outputs: dict[str, Any]) -> int:
    """Parts of the work; none where the recipe looks for no duplicates."""
    return len(_shards(job, outputs))


def seek(job: Job, part: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the candidate pairs of a shard. Returns {pairs}."""
    index, shard = _shards(job, outputs)[part]
    return {"pairs": index.seek(shard)}


def _shards(job: Job, outputs: dict[str, Any]) -> list[tuple[DuplicateIndex | VectorIndex, int]]:
    """Of every index, one after another."""
    if not job.recipe.set_operators:
        return []
    indexes = Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).indexes.values()
    return [(index, shard) for index in indexes for shard in range(index.num_shards)]

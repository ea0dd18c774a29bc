"""Where shards, indexes and manifests lie under a root, and how many rows a record batch has.

Names only; opens nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BATCH_ROWS", "SAMPLE_ID", "index_name", "manifest_name", "shard_name"]

BATCH_ROWS: Final = 4096
"""Rows of a record batch; the last of a shard may have fewer."""

SAMPLE_ID: Final = "sample_id"
"""The last column of every shard, fixed_size_binary(16)."""

LABEL_BEFORE: Final = "label_before"
"""The given label of relabelled rows, null elsewhere; just before `sample_id` where the task has labels."""


def shard_name(digest: str) -> str:
    return f"shards/{digest[:2]}/{digest}.arrow"


def index_name(digest: str) -> str:
    return f"indexes/{digest[:2]}/{digest}.arrow"


def manifest_name(manifest_id: str) -> str:
    return f"manifests/{manifest_id}.json"

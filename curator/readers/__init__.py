"""Readers: from paths to sources, from sources to work units, from a unit to batches of rows.

    sources = discover(["data/", "more/*.jsonl.gz"])
    plan = plan_inputs(sources, unit_rows=32_768)         # plan.schema, plan.units, plan.rows
    for unit in plan.units:
        for first_row, batch in read(unit, schema=plan.schema, columns=["id", "text"]):
            ...                                            # batch: pyarrow.RecordBatch

Knows nothing of recipes, sample ids or what becomes of the rows. Data files are never code.
"""

from __future__ import annotations

from curator.readers.discovery import EXTENSIONS, discover
from curator.readers.image_bytes import IMAGE_STRUCT, as_bytes
from curator.readers.limits import LIMITS, Limits
from curator.readers.plan import plan_inputs, read, scan, unify
from curator.readers.unit import InputPlan, Rows, Source, SourceInfo, WorkUnit
from curator.readers.where import matches

__all__ = [
    "EXTENSIONS",
    "IMAGE_STRUCT",
    "InputPlan",
    "LIMITS",
    "Limits",
    "Rows",
    "Source",
    "SourceInfo",
    "WorkUnit",
    "as_bytes",
    "discover",
    "matches",
    "plan_inputs",
    "read",
    "scan",
    "unify",
]

"""Resolve: what needs the whole set. Which row duplicates which, and where each unit's rows begin.

Reads side files only. Knows the duplicate index; decides nothing about a row's fate beyond its cluster.
"""

from __future__ import annotations

import tempfile
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curator.duplicates import DuplicateIndex, Edges, clusters
from pipelines.job import Job
from pipelines.side import bytes_matrix, rule_masks

__all__ = ["EDGE_FLOOR", "resolve"]

EDGE_FLOOR = 0.5
"""Similarity below which a candidate pair is forgotten; `what-if` can move the threshold down to here."""


def resolve(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes resolve/edges.arrow and resolve/duplicates.arrow. Returns {starts, duplicates}."""
    rows = [outputs["score"][unit]["rows"] for unit in range(len(job.plan.units))]
    starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    result: dict[str, Any] = {"starts": starts.tolist(), "duplicates": 0}
    if job.recipe.set_operators:
        edges = find_edges(job, starts)
        write_edges(job, edges)
        found = find_duplicates(job, starts, edges)
        job.write(job.name("resolve", "duplicates.arrow"), found)
        result["duplicates"] = found.num_rows
    return result


def find_edges(job: Job, starts: np.ndarray) -> Edges:
    """Verified pairs over the whole set, in global row numbers."""
    near = any(op.kind == "near_duplicates" for op in job.recipe.set_operators) and job.recipe.modality == "text"
    bands = next((op.bands for op in job.recipe.set_operators if op.kind == "near_duplicates"), 0)
    with tempfile.TemporaryDirectory(prefix="winnow-") as scratch:
        index = DuplicateIndex(scratch, bands=bands) if near else DuplicateIndex(scratch)
        for unit in range(len(job.plan.units)):
            hashes = bytes_matrix(job.read_side(unit, "signals", ["content_hash"])["content_hash"], np.uint64)
            signatures = bytes_matrix(job.read_side(unit, "minhash")["signature"], np.uint32) if near else None
            index.add(int(starts[unit]), hashes, signatures)
        return index.edges(EDGE_FLOOR)


class _Found(NamedTuple):
    """Rows that one operator drops, the rows they duplicate, and how closely."""

    rows: np.ndarray
    operator: int
    keepers: np.ndarray
    similarity: np.ndarray


def find_duplicates(job: Job, starts: np.ndarray, edges: Edges, recipe: Any = None) -> pa.RecordBatch:
    """(row, operator, keeper row, keeper sample_id, similarity) of every row a set operator drops, by row.

    Operators run in the recipe's order: a row that an earlier operator drops neither drops nor is kept by a later one.
    """
    recipe = recipe or job.recipe
    num_rows = int(starts[-1])
    alive, lengths = _alive_and_lengths(job, starts, recipe)
    found: list[_Found] = []
    for position, op in enumerate(recipe.process):
        if op not in recipe.set_operators:
            continue
        usable = alive[position]
        for earlier in found:
            usable[earlier.rows] = False
        threshold = 1.0 if op.kind == "exact_duplicates" else op.threshold
        part = edges.where(usable, exact_only=op.kind == "exact_duplicates")
        of, similarity = clusters(num_rows, part, threshold, keep=op.keep, lengths=lengths)
        dropped = np.flatnonzero(of >= 0)
        found.append(_Found(dropped, position, of[dropped], similarity[dropped]))
    return _table(job, starts, found)


def _alive_and_lengths(job: Job, starts: np.ndarray, recipe: Any) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """For each set operator: which rows no earlier row operator dropped. Content length in bytes of every row."""
    num_rows = int(starts[-1])
    positions = [position for position, op in enumerate(recipe.process) if op in recipe.set_operators]
    alive = {position: np.ones(num_rows, bool) for position in positions}
    lengths = np.zeros(num_rows, np.int64)
    for unit in range(len(job.plan.units)):
        table = job.read_side(unit, "signals")
        span = slice(int(starts[unit]), int(starts[unit + 1]))
        lengths[span] = table["content_bytes"].to_numpy()
        present = table["present"].to_numpy()
        masks = rule_masks(recipe, table)
        for position in positions:
            alive[position][span] = present
            for earlier, fired in masks.items():
                if earlier < position:
                    for mask in fired.values():
                        alive[position][span] &= ~mask
    return alive, lengths


_DUPLICATES = pa.schema(
    [
        ("row", pa.int64()),
        ("operator", pa.int16()),
        ("duplicate_of", pa.binary(16)),
        ("similarity", pa.float32()),
    ]
)


def _table(job: Job, starts: np.ndarray, found: list[_Found]) -> pa.RecordBatch:
    rows = np.concatenate([item.rows for item in found])
    operators = np.concatenate([np.full(len(item.rows), item.operator, np.int16) for item in found])
    order = np.argsort(rows, kind="stable")
    keepers = np.concatenate([item.keepers for item in found])[order]
    similarity = np.concatenate([item.similarity for item in found])[order]
    ids = _sample_ids_of(job, starts, keepers)
    return pa.record_batch([rows[order], operators[order], ids, similarity.astype(np.float32)], schema=_DUPLICATES)


def _sample_ids_of(job: Job, starts: np.ndarray, rows: np.ndarray) -> pa.Array:
    """binary(16)[k] of global row numbers; opens each unit that holds one of them once."""
    out = np.zeros((len(rows), 16), np.uint8)
    units = np.searchsorted(starts, rows, side="right") - 1
    for unit in np.unique(units):
        here = np.flatnonzero(units == unit)
        ids = bytes_matrix(job.read_side(int(unit), "signals", ["sample_id"])["sample_id"], np.uint8)
        out[here] = ids[rows[here] - starts[unit]]
    return pa.Array.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(out.tobytes())])


_EDGES = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("similarity", pa.float32())])


def write_edges(job: Job, edges: Edges) -> None:
    job.write(job.name("resolve", "edges.arrow"), pa.record_batch([edges.a, edges.b, edges.similarity], schema=_EDGES))


def read_edges(job: Job) -> Edges:
    """The pairs that resolve found, for other thresholds. Raises NotFoundError if the recipe looked for none."""
    table = job.read(job.name("resolve", "edges.arrow"))
    return Edges(*(table[name].to_numpy() for name in _EDGES.names))

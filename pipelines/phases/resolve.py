"""Resolve: what needs the whole set. Which row duplicates which, and where each unit's rows begin.

Reads side files only. Knows the duplicate index; decides nothing about a row's fate beyond its cluster.
"""

from __future__ import annotations

import tempfile
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.duplicates import SIMILARITY_FLOOR, DuplicateIndex, Edges, ExactDuplicates, clusters, content_hash
from curator.recipe import Recipe
from pipelines.copies import COPIES, write_copies
from pipelines.job import Job
from pipelines.judging import truth_of
from pipelines.rules import any_of, readable, said
from pipelines.side import bytes_matrix

__all__ = ["find_duplicates", "read_edges", "resolve"]

_OVER_ANY_LENGTH = 2**48


def resolve(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes resolve/edges.arrow and resolve/duplicates.arrow. Returns {starts, duplicates}."""
    rows = [outputs["score"][unit]["rows"] for unit in range(len(job.plan.units))]
    starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    result: dict[str, Any] = {"starts": starts.tolist(), "duplicates": 0}
    if job.recipe.set_operators:
        edges = find_edges(job, starts)
        write_edges(job, edges)
        found = find_duplicates(job, job.recipe, starts, edges)
        write_copies(job, found)
        result["duplicates"] = sum(batch.num_rows for batch in found)
    return result


def find_edges(job: Job, starts: np.ndarray) -> Edges:
    """Verified pairs over the whole set, in global row numbers; in a labelled task rows of one label make pairs."""
    near = next((op for op in job.recipe.set_operators if op.kind == "near_duplicates"), None)
    with tempfile.TemporaryDirectory(prefix="winnow-") as scratch:
        index = DuplicateIndex(scratch) if near is None else DuplicateIndex(scratch, bands=near.bands)
        for unit in range(len(job.plan.units)):
            labelled = job.plan.label_type is not None
            table = job.read_side(unit, "signals", ["content_hash", *(["label"] if labelled else [])])
            hashes = bytes_matrix(table["content_hash"], np.uint64)
            signatures = None if near is None else bytes_matrix(job.read_side(unit, "minhash")["signature"], np.uint32)
            apart = _label_numbers(table["label"]) if labelled else None
            index.add(int(starts[unit]), hashes, signatures, apart=apart)
        return index.edges(SIMILARITY_FLOOR)


def _label_numbers(labels: pa.ChunkedArray) -> np.ndarray:
    """uint64[n]: a hash of each label's value, the same in every unit; 0 for none."""
    coded = labels.combine_chunks().dictionary_encode()
    hashes = content_hash(coded.dictionary.cast(pa.string()).cast(pa.binary()))[:, 0]
    return np.append(hashes, np.uint64(0))[pc.fill_null(coded.indices, -1).to_numpy()]


class _Found(NamedTuple):
    """Rows that one operator drops, the rows they duplicate, and how closely."""

    rows: np.ndarray
    operator: int
    keepers: np.ndarray
    similarity: np.ndarray


def find_duplicates(job: Job, recipe: Recipe, starts: np.ndarray, edges: Edges) -> list[pa.RecordBatch]:
    """The rows that set operators drop, a batch of schema COPIES for each unit. recipe: the job's, or one with other
    thresholds. starts: int64[units + 1], the first row of each unit.

    A row that any row operator drops, wherever it stands in `process`, or that lacks content or label takes no part:
    it is nobody's keeper; a trusted row is the keeper before any other, so that what is known of it counts for its
    copies. Set operators run in the recipe's order, and a row that one drops takes no part in the next.
    So a keeper is dropped only by the policy or the trusted sample, which speak of its content and label: its copies,
    which share them, stay dropped with it, as duplicates of the row they name.
    """
    usable, lengths, trusted = _of_every_row(job, recipe, starts)
    found: list[_Found] = []
    for position, op in enumerate(recipe.process):
        if op not in recipe.set_operators:
            continue
        part = edges.where(usable, exact_only=op.kind == "exact_duplicates")
        threshold = 1.0 if isinstance(op, ExactDuplicates) else op.threshold
        weights = lengths * (op.keep == "longest") + trusted * _OVER_ANY_LENGTH
        of, similarity = clusters(len(usable), part, threshold, weights=weights)
        dropped = np.flatnonzero(of >= 0)
        found.append(_Found(dropped, position, of[dropped], similarity[dropped]))
        usable[dropped] = False
    return _batches(job, starts, found)


class _Rows(NamedTuple):
    """Of every row: whether it has content and label and no row operator drops it; its content's length in bytes;
    whether it is trusted."""

    usable: np.ndarray
    lengths: np.ndarray
    trusted: np.ndarray


def _of_every_row(job: Job, recipe: Recipe, starts: np.ndarray) -> _Rows:
    total = int(starts[-1])
    every = _Rows(np.ones(total, bool), np.zeros(total, np.int64), np.zeros(total, bool))
    for unit in range(len(job.plan.units)):
        table = job.read_side(unit, "signals")
        span = slice(int(starts[unit]), int(starts[unit + 1]))
        every.lengths[span] = table["content_bytes"].to_numpy()
        every.trusted[span] = truth_of(job, bytes_matrix(table["sample_id"], np.uint8)) >= 0
        every.usable[span] = ~any_of(said(recipe, table, readable(job, unit, table)))
        if job.plan.label_type is not None:
            every.usable[span] &= table["label"].is_valid().to_numpy()
    return every


def _batches(job: Job, starts: np.ndarray, found: list[_Found]) -> list[pa.RecordBatch]:
    rows = np.concatenate([item.rows for item in found])
    order = np.argsort(rows, kind="stable")
    operators = np.concatenate([np.full(len(item.rows), item.operator, np.int16) for item in found])[order]
    keepers = np.concatenate([item.keepers for item in found])[order]
    similarity = np.concatenate([item.similarity for item in found])[order].astype(np.float32)
    rows, ids = rows[order], _sample_ids_of(job, starts, keepers)
    cuts = np.searchsorted(rows, starts)
    whole = pa.record_batch([rows, operators, ids, similarity], schema=COPIES)
    return [
        whole.slice(low, high - low).set_column(0, COPIES.field(0), pa.array(rows[low:high] - first))
        for low, high, first in zip(cuts[:-1], cuts[1:], starts[:-1], strict=True)
    ]


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

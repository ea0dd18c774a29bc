"""Resolve: what needs the whole set. Which row duplicates which, and where each unit's rows begin.

Reads side files only. Knows verified pairs, not how they were found; decides nothing about a row's fate beyond its
cluster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curator.duplicates import NearDuplicates, SemanticDuplicates, clusters
from curator.recipe import Recipe
from pipelines.copies import COPIES, read_copies, write_copies
from pipelines.job import Job
from pipelines.judging import truth_of
from pipelines.lineage import Lineage, gather_edges
from pipelines.rules import any_of, badness, readable, said
from pipelines.side import bytes_matrix

__all__ = ["find_duplicates", "resolve"]

_OVER_ANY_VALUE = 2**48


def resolve(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes resolve/edges*.arrow and resolve/duplicates.arrow, and seals the indexes. Returns {starts, duplicates,
    bridged: rows that earlier runs kept, of which rows of this one show that they are copies of one another}."""
    rows = outputs["validate"]["rows_by_unit"]
    starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    result: dict[str, Any] = {"starts": starts.tolist(), "duplicates": 0, "bridged": 0}
    if job.recipe.set_operators:
        lineage = Lineage.beginning(job, rows)
        for by in lineage.indexes:
            gather_edges(job, by)
        batches, result["bridged"] = find_duplicates(lineage, job.recipe)
        write_copies(job, batches)
        result["duplicates"] = sum(batch.num_rows for batch in batches)
        for index in lineage.indexes.values():
            index.seal()
    return result


class _Found(NamedTuple):
    """Rows that one operator drops, the rows they duplicate, and how closely."""

    rows: np.ndarray
    operator: int
    keepers: np.ndarray
    similarity: np.ndarray


def find_duplicates(lineage: Lineage, recipe: Recipe) -> tuple[list[pa.RecordBatch], int]:
    """The rows of the last job that set operators drop, a batch of schema COPIES for each unit. recipe: the job's, or
    one with other thresholds. And how many rows that earlier runs kept turn out to be copies of one another.

    A row that any row operator drops, wherever it stands in `process`, or that lacks content or label takes no part:
    it is nobody's keeper. Rows of earlier runs are keepers before any other, for their verdicts stand; then trusted
    rows, so that what is known of them counts for their copies. Set operators run in the recipe's order, and a row that
    one drops takes no part in the next. So a keeper is dropped by a later set operator, which names another row in
    turn, or by the policy or the trusted sample, which speak of its content and label: what duplicates it stays dropped
    with it, as a duplicate of the row it names.
    """
    edges, own = {by: lineage.edges(by) for by in lineage.indexes}, int(lineage.starts[-1][0])
    every = _of_every_row(lineage, recipe)
    usable = every.usable
    held = np.arange(len(usable)) < own
    apart = _kept_apart(lineage)
    found: list[_Found] = []
    bridged = 0
    for position, op in enumerate(recipe.process):
        if op not in recipe.set_operators:
            continue
        taking_part = usable if op.against else usable & ~held
        threshold = op.threshold if isinstance(op, NearDuplicates | SemanticDuplicates) else None
        part = edges[op.by].where(taking_part, exact_only=threshold is None)
        weights = every.value[op.keep] + every.trusted * _OVER_ANY_VALUE + held * (2 * _OVER_ANY_VALUE)
        of, similarity = clusters(len(usable), part, threshold or 1.0, weights=weights)
        dropped = np.flatnonzero(of >= 0)
        usable[dropped] = False
        bridged += int(apart[dropped[dropped < own]].sum())
        dropped = dropped[dropped >= own]
        found.append(_Found(dropped, position, of[dropped], similarity[dropped]))
    return _batches(lineage, found), bridged


class _Rows(NamedTuple):
    """Of every row: whether it has content and label and no row operator drops it; what makes it the keeper, by
    `keep`; whether it is trusted."""

    usable: np.ndarray
    value: dict[str, np.ndarray]
    trusted: np.ndarray


def _of_every_row(lineage: Lineage, recipe: Recipe) -> _Rows:
    """Rows of earlier runs as those runs judged them."""
    total = int(lineage.starts[-1][-1])
    keeps = {op.keep for op in recipe.set_operators}
    every = _Rows(np.ones(total, bool), {keep: np.zeros(total, np.int64) for keep in keeps}, np.zeros(total, bool))
    for job, starts in zip(lineage.jobs, lineage.starts, strict=True):
        judging = recipe if job is lineage.jobs[-1] else job.recipe
        for unit in range(len(job.plan.units)):
            table = job.read_side(unit, "signals")
            span = slice(int(starts[unit]), int(starts[unit + 1]))
            every.trusted[span] = truth_of(job, bytes_matrix(table["sample_id"], np.uint8)) >= 0
            every.usable[span] = ~any_of(said(judging, table, readable(job, unit, table)))
            if job.plan.label_type is not None:
                every.usable[span] &= table["label"].is_valid().to_numpy()
            if "longest" in keeps:
                every.value["longest"][span] = table["content_bytes"].to_numpy()
            if "best" in keeps:
                every.value["best"][span] = _ordered(-badness(judging, table))
    return every


def _ordered(values: np.ndarray) -> np.ndarray:
    """int64[n] in the order of float32[n], the least for NaN; below 2^32."""
    bits = np.where(np.isnan(values), np.float32(-np.inf), values).astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + 2**31


def _kept_apart(lineage: Lineage) -> np.ndarray:
    """bool[rows of earlier runs]: rows that no run so far has called a duplicate."""
    apart = np.ones(int(lineage.starts[-1][0]), bool)
    for job, starts in zip(lineage.jobs[:-1], lineage.starts[:-1], strict=True):
        for unit in range(len(job.plan.units)):
            rows = int(starts[unit + 1] - starts[unit])
            apart[starts[unit] : starts[unit + 1]] = read_copies(job, unit, rows).operator < 0
    return apart


def _batches(lineage: Lineage, found: list[_Found]) -> list[pa.RecordBatch]:
    starts = lineage.starts[-1]
    rows = np.concatenate([item.rows for item in found])
    order = np.argsort(rows, kind="stable")
    operators = np.concatenate([np.full(len(item.rows), item.operator, np.int16) for item in found])[order]
    keepers = np.concatenate([item.keepers for item in found])[order]
    similarity = np.concatenate([item.similarity for item in found])[order].astype(np.float32)
    rows, ids = rows[order], lineage.sample_ids(keepers)
    cuts = np.searchsorted(rows, starts)
    whole = pa.record_batch([rows, operators, ids, similarity], schema=COPIES)
    return [
        whole.slice(low, high - low).set_column(0, COPIES.field(0), pa.array(rows[low:high] - first))
        for low, high, first in zip(cuts[:-1], cuts[1:], starts[:-1], strict=True)
    ]

"""What the judge sees of a unit, and where the judge is kept. Knows side files and agents, not steps."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from agents.types import Rows
from curator.feedback import losses_of, read_snapshot
from curator.storage import Store
from pipelines.job import Job
from pipelines.side import bytes_matrix, embedding_matrix, rule_masks, signal_columns

if TYPE_CHECKING:
    from agents.judge import Judge

__all__ = ["duplicate_rows", "load_judge", "load_rows", "truth_of"]


def load_rows(job: Job, unit: int, outputs: dict[str, Any]) -> tuple[Rows, np.ndarray]:
    """A unit's rows as the judge sees them, and alive bool[n]: rows that no rule and no duplicate has dropped."""
    table = job.read_side(unit, "signals")
    num_rows = table.num_rows
    columns = signal_columns(table)
    embeddings, valid = None, table["present"].to_numpy()
    if job.recipe.needs_vectors:
        embeddings, valid = embedding_matrix(job.read_side(unit, "embeddings"))
    labels = np.zeros(num_rows, np.int64)
    if job.recipe.task == "classification":
        labels = label_codes(table["label"], outputs["validate"]["classes"])
    ids = bytes_matrix(table["sample_id"], np.uint8)
    if job.plan.feedback is not None:
        columns["training_loss"] = losses_of(ids, *_reported(job.root, job.plan.feedback))
    signals = np.stack(list(columns.values()), axis=1) if columns else np.zeros((num_rows, 0), np.float32)
    rows = Rows(ids=ids, embeddings=embeddings, valid=valid, labels=labels, signals=signals)
    alive = table["present"].to_numpy() & (duplicate_rows(job, unit, outputs)["operator"] < 0)
    for fired in rule_masks(job.recipe, table).values():
        for mask in fired.values():
            alive &= ~mask
    return rows, alive


@lru_cache(maxsize=2)
def _reported(root: str, snapshot: str) -> tuple[np.ndarray, np.ndarray]:
    return read_snapshot(Store.open(root), snapshot)


def duplicate_rows(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """For the unit's n rows: operator int16[n] (-1 = none), duplicate_of binary(16)[n], similarity float32[n]."""
    start, stop = outputs["resolve"]["starts"][unit : unit + 2]
    operator, similarity = np.full(stop - start, -1, np.int16), np.full(stop - start, np.nan, np.float32)
    of: np.ndarray = np.full(stop - start, -1, np.int64)
    if not job.recipe.set_operators:
        return {"operator": operator, "duplicate_of": pa.nulls(stop - start, pa.binary(16)), "similarity": similarity}
    table = job.read(job.name("resolve", "duplicates.arrow"))
    rows = table["row"].to_numpy()
    low, high = np.searchsorted(rows, [start, stop])
    here = rows[low:high] - start
    operator[here] = table["operator"].to_numpy()[low:high]
    similarity[here] = table["similarity"].to_numpy()[low:high]
    of[here] = np.arange(low, high)
    keepers = table["duplicate_of"].combine_chunks().take(pa.array(of, mask=of < 0))
    return {"operator": operator, "duplicate_of": keepers, "similarity": similarity}


def label_codes(labels: pa.ChunkedArray, classes: list[Any]) -> np.ndarray:
    """int64[n]: position of each label among the sorted classes, -1 for null."""
    values = pa.array(classes, labels.type)
    codes = np.full(len(labels), -1, np.int64)
    found = pa.compute.index_in(labels, value_set=values).combine_chunks()
    known = np.asarray(found.is_valid())
    codes[known] = found.drop_null().to_numpy()
    return codes


def truth_of(job: Job, ids: np.ndarray) -> np.ndarray:
    """int64[n]: the trusted sample's truth code by sample id, -1 where a row is not trusted."""
    truth = np.full(len(ids), -1, np.int64)
    if job.plan.trusted is None or not len(ids):
        return truth
    table = job.read(job.name("trusted.arrow"))
    known = {
        bytes(row): code
        for row, code in zip(bytes_matrix(table["sample_id"], np.uint8), table["truth"].to_numpy(), strict=True)
    }
    leads = np.isin(
        ids[:, :8].copy().view(np.uint64).reshape(-1),
        bytes_matrix(table["sample_id"], np.uint8)[:, :8].copy().view(np.uint64),
    )
    for row in np.flatnonzero(leads):
        truth[row] = known.get(bytes(ids[row]), -1)
    return truth


@lru_cache(maxsize=2)
def load_judge(root: str, run: str) -> Judge:
    """The judge of a run; kept in memory by the process that decides unit after unit."""
    from agents.judge import Judge  # torch: only where a learned policy decides

    with Job(root, run).files("judge") as folder:
        return Judge.load(folder)

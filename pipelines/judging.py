"""What the judge sees of a unit, and where the judge is kept. Knows side files and agents, not steps."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from agents.types import Rows
from curator.errors import IntegrityError
from curator.feedback import losses_of, read_snapshot
from curator.storage import Store
from pipelines.copies import read_copies
from pipelines.job import Job
from pipelines.rules import any_of, readable, said
from pipelines.side import bytes_matrix, embedding_matrix, found_in, signal_columns

if TYPE_CHECKING:
    from agents.judge import Judge

__all__ = ["load_judge", "load_rows", "reported_losses", "truth_of"]


def load_rows(job: Job, unit: int, outputs: dict[str, Any]) -> tuple[Rows, np.ndarray]:
    """A unit's rows as the judge sees them, and alive bool[n]: rows with content that no rule and no
    duplicate has dropped."""
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
        columns["training_loss"] = losses_of(ids, *reported_losses(job.root, job.plan.feedback))
    signals = np.stack(list(columns.values()), axis=1) if columns else np.zeros((num_rows, 0), np.float32)
    rows = Rows(ids=ids, embeddings=embeddings, valid=valid, labels=labels, signals=signals)
    found = said(job.recipe, table, readable(job, unit, table), read_copies(job, unit, num_rows).operator)
    return rows, ~any_of(found)


@lru_cache(maxsize=2)
def reported_losses(root: str, snapshot: str) -> tuple[np.ndarray, np.ndarray]:
    """What training reported, as `read_snapshot` gives it; kept in memory by the process that asks unit after unit."""
    return read_snapshot(Store.open(root), snapshot)


def label_codes(labels: pa.ChunkedArray, classes: list[Any]) -> np.ndarray:
    """int64[n]: position of each label among the sorted classes, -1 for null."""
    values = pa.array(classes, labels.type)
    codes = np.full(len(labels), -1, np.int64)
    found = pa.compute.index_in(labels, value_set=values).combine_chunks()
    known = np.asarray(found.is_valid())
    codes[known] = found.drop_null().to_numpy()
    return codes


def truth_of(job: Job, ids: np.ndarray) -> np.ndarray:
    """int64[n]: the trusted sample's truth code by sample id (uint8[n, 16]), -1 where a row is not trusted."""
    truth = np.full(len(ids), -1, np.int64)
    if job.plan.trusted is None:
        return truth
    keys, codes = job.trusted
    rows, at = found_in(ids, keys)
    truth[rows] = codes[at]
    return truth


@lru_cache(maxsize=2)
def load_judge(root: str, run: str, version: str) -> Judge:
    """The judge that a run learned, in the version its journal names; kept in memory by the process that decides unit
    after unit. Raises IntegrityError if another one lies there."""
    from agents.judge import Judge  # torch: only where a learned policy decides

    with Job(root, run).files("judge") as folder:
        judge = Judge.load(folder)
    if judge.version != version:
        raise IntegrityError(
            f"run {run} learned the policy {version}, but {judge.version} lies under its judge/; what it decides would "
            "not be what the run says: retry the run from the start"
        )
    return judge

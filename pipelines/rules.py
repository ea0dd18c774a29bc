"""What a recipe's rules say of a unit's rows: the one home of which rule fires where, for everything that decides.

Reads signal columns and which set operator claims a row. Knows neither policies nor what becomes of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curator.recipe import Recipe, SetOperator
from curator.signals.personal import PersonalData
from pipelines.job import Job
from pipelines.side import signal_columns

__all__ = ["BROKEN", "Said", "any_of", "badness", "readable", "said", "to_mask"]

BROKEN = ("missing_content", "undecodable_image")
"""Reasons that nothing overrules: a row without content that can be read teaches nothing, whoever trusts it."""


class Said(NamedTuple):
    """One reason, and the rows it holds for: bool[n]. A reason comes once for each operator that gives it."""

    reason: str
    rows: np.ndarray


def said(recipe: Recipe, table: pa.Table, readable: np.ndarray, claimed: np.ndarray | None = None) -> list[Said]:
    """Everything the rules say of n rows, in order of authority: broken content first, then the operators in the
    recipe's order, one after another even where two are of a kind.

    table: the unit's signals. readable: bool[n], as `readable` gives it. claimed: int16[n], the place in `process` of
    the set operator that drops the row, -1 none; without it the row operators speak alone.
    """
    present = table["present"].to_numpy()
    missing, undecodable = BROKEN
    found = [Said(missing, ~present), Said(undecodable, present & ~readable)]
    columns = signal_columns(table)
    for place, operator in enumerate(recipe.process):
        if not isinstance(operator, SetOperator):
            found += [Said(reason, np.asarray(mask, bool)) for reason, mask in operator.fired(columns).items()]
        elif claimed is not None:
            [reason] = operator.reasons
            found.append(Said(reason, claimed == place))
    return found


def any_of(found: Sequence[Said]) -> np.ndarray:
    """bool[n]: rows of which at least one thing was said."""
    return np.logical_or.reduce([item.rows for item in found])


def readable(job: Job, unit: int, table: pa.Table) -> np.ndarray:
    """bool[n]: content that is there can be read. Images tell when they are encoded; a text that is there is read."""
    if job.recipe.modality == "text":
        return np.ones(table.num_rows, bool)
    return job.read_side(unit, "embeddings", ["valid"])["valid"].to_numpy()


def to_mask(recipe: Recipe, table: pa.Table) -> np.ndarray:
    """bool[n]: rows that hold personal data that the recipe masks."""
    columns = signal_columns(table)
    parts = [op.to_mask(columns) for op in recipe.process if isinstance(op, PersonalData)]
    return np.logical_or.reduce(parts) if parts else np.zeros(table.num_rows, bool)


def badness(recipe: Recipe, table: pa.Table) -> np.ndarray:
    """float32[n]: the worst excess over any threshold of the row operators; 0 lies on the threshold, NaN cannot say."""
    columns = signal_columns(table)
    parts = [np.asarray(op.badness(columns), np.float32) for op in recipe.row_operators]
    return np.fmax.reduce(parts) if parts else np.full(table.num_rows, np.nan, np.float32)

"""A run and the runs it goes on from: their indexes of duplicates as one, and every row by its number among them all.

A recipe names at most one earlier run (`against`), which may name one before it. Rows of the oldest come first, so that
numbers given in an earlier run hold in all later ones. Knows jobs and indexes; nothing of what a duplicate is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from curator.duplicates import (
    SIMILARITY_FLOOR,
    By,
    DuplicateIndex,
    Edges,
    MeaningShape,
    NearDuplicates,
    Shape,
    VectorIndex,
    clusters_for,
)
from curator.errors import ConflictError, NotFoundError, RecipeError
from curator.recipe import Recipe
from pipelines.job import Job
from pipelines.side import bytes_matrix

__all__ = ["Lineage", "edges_batch", "edges_kind", "gather_edges", "require_earlier"]


@dataclass(frozen=True)
class Lineage:
    """indexes: the run's, by what they compare, each going on from those of the earlier run; but meanings are compared
    within a run alone."""

    job: Job
    earlier: Lineage | None
    indexes: dict[By, DuplicateIndex | VectorIndex]

    @classmethod
    def beginning(cls, job: Job, rows_by_unit: Sequence[int]) -> Lineage:
        """Of a run at work."""
        earlier, rows = _earlier(job), tuple(rows_by_unit)

        def index(by: By) -> DuplicateIndex | VectorIndex:
            if by == "meaning":
                shape = MeaningShape(rows=rows, clusters=clusters_for(sum(rows)), floor=SIMILARITY_FLOOR)
                return VectorIndex(job.store, _folder(job, by), shape, earlier.end_row if earlier else 0)
            before = earlier.found_by(by) if earlier else None
            return DuplicateIndex(job.store, _folder(job, by), _shape(job.recipe, by, rows), before)

        return cls(job, earlier, {by: index(by) for by in job.recipe.compared_by})

    @classmethod
    def of(cls, job: Job) -> Lineage:
        """Of a run that has resolved its duplicates. Raises NotFoundError for one that has not, or looked for none."""
        if not job.recipe.set_operators:
            raise NotFoundError(f"run {job.run} looked for no duplicates, so there is no index of its rows")
        earlier = _earlier(job)

        def index(by: By) -> DuplicateIndex | VectorIndex:
            if by == "meaning":
                return VectorIndex.open(job.store, _folder(job, by), earlier.end_row if earlier else 0)
            return DuplicateIndex.open(job.store, _folder(job, by), earlier.found_by(by) if earlier else None)

        return cls(job, earlier, {by: index(by) for by in job.recipe.compared_by})

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The oldest first, the run itself last."""
        return (*(self.earlier.jobs if self.earlier else ()), self.job)

    @cached_property
    def starts(self) -> tuple[np.ndarray, ...]:
        """int64[units + 1] of each job: number of each unit's first row, and where the last ends."""
        own = next(iter(self.indexes.values())).starts
        return (*(self.earlier.starts if self.earlier else ()), own)

    @property
    def end_row(self) -> int:
        return int(self.starts[-1][-1])

    def found_by(self, by: By) -> DuplicateIndex:
        """The index that later ones go on from."""
        index = self.indexes[by]
        assert isinstance(index, DuplicateIndex)
        return index

    def edges(self, by: By) -> Edges:
        """The verified pairs of all the runs, sorted, for whatever thresholds."""
        parts = [_edges(job.read(_edges_name(job, by))) for job in self.jobs if by in job.recipe.compared_by]
        a, b, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((b, a))
        return Edges(a[order], b[order], similarity[order])

    def sample_ids(self, rows: np.ndarray) -> pa.Array:
        """binary(16)[k] of row numbers; opens each unit that holds one of them once."""
        out = np.zeros((len(rows), 16), np.uint8)
        for job, starts in zip(self.jobs, self.starts, strict=True):
            units = np.searchsorted(starts, rows, side="right") - 1
            units[(rows < starts[0]) | (rows >= starts[-1])] = -1
            for unit in np.unique(units[units >= 0]):
                here = np.flatnonzero(units == unit)
                ids = bytes_matrix(job.read_side(int(unit), "signals", ["sample_id"])["sample_id"], np.uint8)
                out[here] = ids[rows[here] - starts[unit]]
        return pa.Array.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(out.tobytes())])


def _earlier(job: Job) -> Lineage | None:
    return None if job.recipe.against is None else Lineage.of(Job(job.root, job.recipe.against))


def require_earlier(root: str, recipe: Recipe) -> None:
    """Raises RecipeError unless the earlier run that the recipe names is here, whole, and of the same shape."""
    if recipe.against is None:
        return
    try:
        lineage = Lineage.of(Job(root, recipe.against))
    except ConflictError as error:
        raise RecipeError(
            f"against: run {recipe.against} was made by another version of Winnow, whose index this one does not read; "
            "curate its data again with this one, or leave against out"
        ) from error
    except NotFoundError as error:
        raise RecipeError(
            f"against: there is no run {recipe.against} here with an index of its rows; name a run of the same root "
            "that looked for duplicates and has ended"
        ) from error
    for by in recipe.compared_by:
        if by == "meaning":
            continue
        if by not in lineage.indexes:
            raise RecipeError(
                f"against: run {recipe.against} compared its rows by {' and '.join(lineage.indexes)}, not by {by}; "
                f"leave out what compares them by {by}, or index that run's data again with it"
            )
        _require_alike(recipe, by, lineage.found_by(by).shape)


def _require_alike(recipe: Recipe, by: By, earlier: Shape) -> None:
    mine = _shape(recipe, by, earlier.rows)
    names = ["labelled", *(["num_perm", "bands", "ngram", "seed"] if mine.num_perm else [])]
    unlike = [name for name in names if getattr(mine, name) != getattr(earlier, name)]
    if unlike:
        told = ", ".join(f"{name} {getattr(mine, name)} for {getattr(earlier, name)}" for name in unlike)
        raise RecipeError(
            f"against: run {recipe.against} indexed its rows otherwise, so they cannot be compared ({told}; num_perm "
            "0: no near duplicates were looked for); use its values, or index its data again with these"
        )


def _shape(recipe: Recipe, by: By, rows_by_unit: Sequence[int]) -> Shape:
    labelled = recipe.task == "classification"
    near = next((op for op in recipe.set_operators if isinstance(op, NearDuplicates)), None)
    if near is None or by != near.by:
        return Shape(rows=tuple(rows_by_unit), labelled=labelled)
    return Shape(
        rows=tuple(rows_by_unit),
        num_perm=near.num_perm,
        bands=near.bands,
        ngram=near.ngram,
        seed=recipe.seed,
        labelled=labelled,
    )


def _folder(job: Job, by: By) -> str:
    return job.name("index" if by == "content" else f"index-{by}")


_EDGES = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("similarity", pa.float32())])


def edges_batch(edges: Edges) -> pa.RecordBatch:
    return pa.record_batch([pa.array(column) for column in edges], schema=_EDGES)


def edges_kind(by: By) -> str:
    """Of the side file that a unit's pairs lie in."""
    return "edges" if by == "content" else f"edges-{by}"


def gather_edges(job: Job, by: By) -> Edges:
    """The pairs that the run's units matched, written as the run's own, sorted."""
    parts = [job.read_side(unit, edges_kind(by)) for unit in range(len(job.plan.units))]
    table = pa.concat_tables(parts).sort_by([("a", "ascending"), ("b", "ascending")]).combine_chunks()
    job.write(_edges_name(job, by), table.to_batches()[0] if table.num_rows else edges_batch(_edges(table)))
    return _edges(table)


def _edges(table: pa.Table) -> Edges:
    return Edges(*(table[name].to_numpy() for name in _EDGES.names))


def _edges_name(job: Job, by: By) -> str:
    return job.name("resolve", f"{edges_kind(by)}.arrow")

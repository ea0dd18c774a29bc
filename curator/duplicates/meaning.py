"""Which rows mean the same: pairs of similar vectors, found within clusters of them (SemDeDup, Abbas et al. 2023,
arXiv:2303.09540), on any number of workers.

    centres.arrow      of the clusters: k-means over a sample
    units/00000.arrow  a unit's vectors, a batch for each cluster
    pairs/00000.arrow  similar pairs of a shard, which is some clusters, a batch for each unit
    index.json         its shape; written last

It is filled, sought and matched as the index of duplicates is. Unlike SemDeDup it does not choose which row stays: it
finds for each row the most similar ones before it, and whoever asks ties those together. Pairs across clusters are not
found. Knows vectors and row numbers; nothing of what was encoded, or by whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.duplicates.edges import ALMOST_ONE, Edges
from curator.duplicates.vectors import centres, nearest, similar_before, whole_vectors
from curator.stopping import hear
from curator.storage import Store

__all__ = ["MeaningShape", "VectorIndex", "clusters_for"]

SHARD_BYTES: Final = 64 << 20
"""Vectors of a shard, by an estimate of their width; the clusters of a shard are compared one after another."""
PIECE_ROWS: Final = 32_768
"""A larger cluster is compared in pieces of so many rows in order: more would take time by the square of its size."""
_ROW_BYTES: Final = 1_024
_MOST_CLUSTERS: Final = 4_096
_CLUSTER_ROWS: Final = 1_000

_PAIRS: Final = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("similarity", pa.float32())])


def clusters_for(num_rows: int) -> int:
    """How many clusters so many rows are sorted into."""
    return max(1, min(num_rows // _CLUSTER_ROWS, _MOST_CLUSTERS))


class MeaningShape(BaseModel):
    """What an index is of. rows: of each unit. floor: pairs less similar are not looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    rows: tuple[int, ...]
    clusters: int
    floor: float


class VectorIndex:
    """Lies in a folder of a store and takes there two bytes for each number of each vector. In memory: of a unit being
    added its vectors, of a shard being sought the vectors of its largest cluster and, for a block of them, 128 MiB."""

    def __init__(self, store: Store, folder: str, shape: MeaningShape, first_row: int = 0):
        self._store, self._folder, self.shape = store, folder, shape
        self.starts = first_row + np.cumsum([0, *shape.rows], dtype=np.int64)

    @classmethod
    def open(cls, store: Store, folder: str, first_row: int = 0) -> VectorIndex:
        """A sealed one. Raises NotFoundError."""
        shape = MeaningShape.model_validate_json(store.read_bytes(f"{folder}/index.json"))
        return cls(store, folder, shape, first_row)

    @property
    def num_shards(self) -> int:
        """Depends on the rows alone, never on workers."""
        return max(1, min(-(-sum(self.shape.rows) * _ROW_BYTES // SHARD_BYTES), self.shape.clusters))

    def begin(self, sample: np.ndarray) -> None:
        """Finds the clusters' centres; a sample of vectors real[n, d], before any are added."""
        found = centres(whole_vectors(sample), self.shape.clusters)
        column = pa.array([row.tobytes() for row in found], pa.binary())
        with (
            self._store.writer(f"{self._folder}/centres.arrow") as sink,
            _file(sink, [("centre", pa.binary())]) as writer,
        ):
            writer.write_batch(pa.record_batch([column], names=["centre"]))

    @contextmanager
    def adding(self, unit: int) -> Iterator[Any]:
        """A function (vectors real[n, d], valid bool[n], apart uint64[n] or None) that adds rows of the unit batch by
        batch; the unit is there on a clean exit. Raises ValueError where the rows do not add up to the unit's."""
        vectors: list[np.ndarray] = []
        numbers: list[np.ndarray] = []

        def add(rows: np.ndarray, valid: np.ndarray, apart: np.ndarray | None = None) -> None:
            vectors.append(whole_vectors(rows, valid))
            numbers.append(np.zeros(len(rows), np.uint64) if apart is None else apart)

        yield add
        rows = sum(len(part) for part in vectors)
        if rows != self.shape.rows[unit]:
            raise ValueError(f"{rows} vectors were added to unit {unit}, which has {self.shape.rows[unit]} rows")
        self._write_unit(unit, vectors, numbers)

    def seek(self, shard: int) -> int:
        """Finds the similar pairs of a shard's clusters, once all units are added; returns how many there are."""
        cuts = [self.shape.clusters * at // self.num_shards for at in (shard, shard + 1)]
        parts = [part for cluster in range(*cuts) for part in self._pairs_of(cluster)]
        a, b, similarity = (np.concatenate(column) for column in zip(_NO_PAIRS, *parts, strict=True))
        order = np.lexsort((a, b))
        a, b, similarity = a[order], b[order], similarity[order]
        with self._store.writer(self._name("pairs", shard)) as sink, _file(sink, _PAIRS) as writer:
            for low, high in pairwise(np.searchsorted(b, self.starts)):
                writer.write_batch(pa.record_batch([a[low:high], b[low:high], similarity[low:high]], schema=_PAIRS))
        return len(a)

    def match(self, unit: int, floor: float) -> Edges:
        """The pairs of at least `floor` whose later row is of this unit, once all shards are sought."""
        parts = []
        for shard in range(self.num_shards):
            with self._store.open_input(self._name("pairs", shard)) as source:
                batch = pa.ipc.open_file(source).get_batch(unit)
                parts.append([batch.column(name).to_numpy().copy() for name in _PAIRS.names])
        a, b, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((b, a))
        order = order[similarity[order] >= np.float32(floor)]
        return Edges(a[order], b[order], np.minimum(similarity[order], ALMOST_ONE))

    def seal(self) -> None:
        """The index is whole."""
        self._store.write_bytes(f"{self._folder}/index.json", self.shape.model_dump_json(indent=1).encode())

    def _name(self, part: str, number: int) -> str:
        return f"{self._folder}/{part}/{number:05d}.arrow"

    def _centres(self, width: int) -> np.ndarray:
        with self._store.open_input(f"{self._folder}/centres.arrow") as source:
            rows = pa.ipc.open_file(source).read_all()["centre"].to_pylist()
        return np.frombuffer(b"".join(rows), np.int16).reshape(-1, width)

    def _write_unit(self, unit: int, vectors: list[np.ndarray], numbers: list[np.ndarray]) -> None:
        """A batch for each cluster: rows within the unit, ascending, that have a vector."""
        width = vectors[0].shape[1] if vectors else 1
        rows = np.concatenate([np.zeros((0, width), np.int16), *vectors])
        apart = np.concatenate([np.zeros(0, np.uint64), *numbers])
        real = np.flatnonzero(rows.any(axis=1))
        of = nearest(rows[real], self._centres(width)) if len(real) else real
        order = np.argsort(of, kind="stable")
        schema = pa.schema([("row", pa.uint32()), ("apart", pa.uint64()), ("vector", pa.binary(2 * width))])
        with self._store.writer(self._name("units", unit)) as sink, _file(sink, schema) as writer:
            for low, high in pairwise(np.searchsorted(of[order], np.arange(self.shape.clusters + 1))):
                mine = real[order[low:high]]
                raw = pa.py_buffer(np.ascontiguousarray(rows[mine]))
                vector = pa.Array.from_buffers(pa.binary(2 * width), len(mine), [None, raw])
                columns = [pa.array(mine.astype(np.uint32)), pa.array(apart[mine]), vector]
                writer.write_batch(pa.record_batch(columns, schema=schema))

    def _pairs_of(self, cluster: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Of rows of one cluster, a piece at a time."""
        for rows, apart, vectors in self._pieces(cluster):
            hear()
            a, b, similarity = similar_before(vectors, apart, self.shape.floor)
            yield rows[a], rows[b], similarity

    def _pieces(self, cluster: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(row numbers, numbers that tell them apart, vectors) of a cluster in order, up to PIECE_ROWS at once."""
        held: list[tuple[np.ndarray, ...]] = []
        count = 0
        for unit, first in enumerate(self.starts[:-1]):
            with self._store.open_input(self._name("units", unit)) as source:
                batch = pa.ipc.open_file(source).get_batch(cluster)
                part = (
                    batch.column("row").to_numpy().astype(np.int64) + first,
                    batch.column("apart").to_numpy().copy(),
                    _vectors(batch.column("vector")),
                )
            taken = 0
            while taken < len(part[0]):
                span = slice(taken, taken + PIECE_ROWS - count)
                held.append(tuple(column[span] for column in part))
                taken, count = taken + len(held[-1][0]), count + len(held[-1][0])
                if count == PIECE_ROWS:
                    yield _joined(held)
                    held, count = [], 0
        if held:
            yield _joined(held)


_NO_PAIRS: Final = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def _file(sink: Any, schema: Any) -> Any:
    return pa.ipc.new_file(sink, schema if isinstance(schema, pa.Schema) else pa.schema(schema))


def _vectors(column: pa.Array) -> np.ndarray:
    """int16[n, d], a copy."""
    width = column.type.byte_width
    raw = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return raw.view(np.int16).reshape(len(column), width // 2).copy()


def _joined(held: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, apart, vectors = (np.concatenate(column) for column in zip(*held, strict=True))
    return rows, apart, vectors

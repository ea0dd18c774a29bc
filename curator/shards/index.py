"""The index beside a shard: which rows live, by difficulty, and which labels a person or a re-decision changed.

An Arrow IPC file, uncompressed, of one row, so that it can be memory-mapped: `easy`, `medium`, `hard` are the live
row numbers in sample_id order; `deleted` and `deleted_difficulty` the deletion vector (rows that lived once, with
the difficulty they had); `relabeled` and `label` the overlay, by rising row. Knows nothing of manifests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from curator.difficulty import EASY, HARD, MEDIUM, NAMES, UNKNOWN, SampleIds, sample_id_bytes
from curator.digest import sha256_hex
from curator.errors import IntegrityError
from curator.shards.arrays import arrow_ints, numpy_ints
from curator.shards.layout import index_name
from curator.shards.publishing import publish
from curator.storage import Store

__all__ = ["Overlay", "ShardIndex", "write_index"]

VERSION = b"1"
_ROWS = pa.list_(pa.field("item", pa.uint32(), nullable=False))
_CODES = pa.list_(pa.field("item", pa.uint8(), nullable=False))


@dataclass(frozen=True)
class Overlay:
    """Labels that replace the stored ones: rows uint32[m] rising, labels of the label column's type, without nulls."""

    rows: np.ndarray
    labels: Any


@dataclass(frozen=True)
class ShardIndex:
    """An index in memory; the arrays may be views of a mapped file.

    by_difficulty: uint32 live row numbers of easy, medium, hard, each in sample_id order. deleted: uint32[m] rising.
    deleted_difficulty: uint8[m]. overlay: None when no label changed.
    """

    by_difficulty: tuple[np.ndarray, np.ndarray, np.ndarray]
    deleted: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    deleted_difficulty: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    overlay: Overlay | None = None

    @classmethod
    def build(
        cls, difficulty: np.ndarray, live: np.ndarray, sample_ids: SampleIds, overlay: Overlay | None = None
    ) -> ShardIndex:
        """An index of a whole shard: difficulty uint8[rows] (UNKNOWN for rows that never lived), live bool[rows].

        Raises ValueError on lengths that differ or a live row without a difficulty.
        """
        ids = sample_id_bytes(sample_ids)
        if not len(difficulty) == len(live) == len(ids):
            raise ValueError(f"{len(difficulty)} difficulties, {len(live)} live flags, {len(ids)} sample ids")
        if (difficulty[live] > HARD).any():
            row = int(np.flatnonzero(live & (difficulty > HARD))[0])
            raise ValueError(f"row {row} lives but has difficulty {difficulty[row]}; expected 0, 1 or 2")
        easy, medium, hard = (_in_id_order(np.flatnonzero(live & (difficulty == d)), ids) for d in (EASY, MEDIUM, HARD))
        deleted = np.flatnonzero(~live & (difficulty != UNKNOWN)).astype(np.uint32)
        return cls((easy, medium, hard), deleted, difficulty[deleted].astype(np.uint8), overlay)

    @property
    def live_counts(self) -> tuple[int, int, int]:
        easy, medium, hard = self.by_difficulty
        return len(easy), len(medium), len(hard)

    @cached_property
    def by_row(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `by_difficulty`, each by rising row number: neighbours share record batches."""
        easy, medium, hard = (np.sort(rows) for rows in self.by_difficulty)
        return easy, medium, hard

    @cached_property
    def live_rows(self) -> np.ndarray:
        """All live row numbers, rising."""
        return np.sort(np.concatenate(self.by_difficulty))

    def difficulty_of_rows(self, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """difficulty uint8[num_rows] (UNKNOWN where none) and live bool[num_rows]: what `build` takes."""
        difficulty = np.full(num_rows, UNKNOWN, dtype=np.uint8)
        live = np.zeros(num_rows, dtype=bool)
        for code, rows in enumerate(self.by_difficulty):
            difficulty[rows], live[rows] = code, True
        difficulty[self.deleted] = self.deleted_difficulty
        return difficulty, live

    def to_bytes(self) -> bytes:
        """The file's bytes; equal indexes, equal bytes."""
        columns: dict[str, Any] = {
            name: _one_list(rows, _ROWS) for name, rows in zip(NAMES, self.by_difficulty, strict=True)
        }
        columns["deleted"] = _one_list(self.deleted, _ROWS)
        columns["deleted_difficulty"] = _one_list(self.deleted_difficulty, _CODES)
        if self.overlay is not None:
            columns["relabeled"] = _one_list(self.overlay.rows.astype(np.uint32), _ROWS)
            columns["label"] = pa.ListArray.from_arrays([0, len(self.overlay.labels)], self.overlay.labels)
        batch = pa.record_batch(columns).replace_schema_metadata({b"winnow.index": VERSION})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    @classmethod
    def from_buffer(cls, data: pa.Buffer, name: str) -> ShardIndex:
        """Reads an index; the arrays share the buffer. Raises IntegrityError naming `name`."""
        try:
            batch = pa.ipc.open_file(pa.BufferReader(data)).get_batch(0)
            version = (batch.schema.metadata or {}).get(b"winnow.index")
            if version != VERSION:
                raise IntegrityError(f"index {name} has version {version!r}, this program knows {VERSION!r}")
            easy, medium, hard = (_rows(batch, difficulty) for difficulty in NAMES)
            overlay = None
            if "relabeled" in batch.schema.names:
                overlay = Overlay(_rows(batch, "relabeled"), batch.column("label").flatten())
            return cls((easy, medium, hard), _rows(batch, "deleted"), _rows(batch, "deleted_difficulty"), overlay)
        except (pa.ArrowException, KeyError, OSError) as error:
            raise IntegrityError(f"index {name} cannot be read: {error}. Restore it from a copy.") from error

    def save(self, store: Store) -> str:
        """Writes the index under its digest unless it is there; returns the digest."""
        data = self.to_bytes()
        digest = sha256_hex(data)
        name = index_name(digest)
        publish(store, name, data)
        return digest


def write_index(
    store: Store, difficulty: np.ndarray, live: np.ndarray, sample_ids: SampleIds, overlay: Overlay | None = None
) -> tuple[str, tuple[int, int, int]]:
    """Builds and writes a shard's index. Returns its digest and the live counts (easy, medium, hard).

    difficulty: uint8[rows]; live: bool[rows]; sample_ids: of all the shard's rows, in order. Raises ValueError.
    """
    index = ShardIndex.build(difficulty, live, sample_ids, overlay)
    return index.save(store), index.live_counts


def _in_id_order(rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(ids[rows]).view(">u8").astype(np.uint64)
    return rows[np.lexsort((words[:, 1], words[:, 0]))].astype(np.uint32)


def _one_list(values: np.ndarray, data_type: pa.DataType) -> Any:
    return pa.ListArray.from_arrays(
        arrow_ints(np.array([0, len(values)], dtype=np.int32)), arrow_ints(values), type=data_type
    )


def _rows(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return numpy_ints(batch.column(name).flatten())

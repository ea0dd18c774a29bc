"""The duplicate index: what is needed to find every verified pair of a set larger than memory, on any number of
workers, and of rows that come later.

    units/00000.keys.arrow    a unit's keys, a batch for each shard
          00000.fingerprints  its rows' contents and shingles, by which pairs are verified
    shards/00000.arrow        a range of keys over all units, ascending: what later indexes look their own keys up in
    pairs/00000.arrow         candidates of a shard, a batch for each unit
    index.json                its shape; written last

Units are added, shards sought, units matched: each step's parts in any order and in any process. An index goes on from
an earlier one: its rows are numbered after the earlier one's, and only pairs with a row of its own are sought. Knows
hashes and row numbers; neither texts nor which row should stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.duplicates.buckets import bucket_pairs
from curator.duplicates.edges import Edges
from curator.duplicates.fingerprints import Fingerprints, fingerprints_writer, read_fingerprints, similarities
from curator.duplicates.keys import row_keys
from curator.duplicates.signatures import Signed
from curator.errors import ConflictError
from curator.stopping import hear
from curator.storage import Store

__all__ = ["DuplicateIndex", "Shape"]

SHARD_BYTES: Final = 32 << 20
"""Keys of a shard, of 12 bytes each; seeking takes about four times as much memory."""

_KEYS: Final = pa.schema([("key", pa.uint64()), ("row", pa.uint32())])
"""row: within the unit."""
_SHARD: Final = pa.schema([("key", pa.uint64()), ("row", pa.int64())])
"""row: within the index."""
_PAIRS: Final = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("exact", pa.bool_())])


class Shape(BaseModel):
    """What an index is of. rows: of each unit. num_perm 0: no signatures, equal content alone is found. labelled: rows
    of different labels never meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    rows: tuple[int, ...]
    num_perm: int = 0
    bands: int = 0
    ngram: int = 0
    seed: int = 0
    labelled: bool = False


class DuplicateIndex:
    """Lies in a folder of a store and takes there about 400 bytes a row (14 bands) and as many bytes as a sixth of the
    texts. In memory: of a unit being added 250 bytes a row, of a shard being sought four times `SHARD_BYTES`, of a unit
    being matched the fingerprints of its candidates and of those of one other unit.

    earlier: the index this one goes on from, of the same shape but for the rows.
    """

    def __init__(self, store: Store, folder: str, shape: Shape, earlier: DuplicateIndex | None = None):
        self._store, self._folder = store, folder
        self.shape, self.earlier = shape, earlier
        self.first_row: int = 0 if earlier is None else earlier.end_row
        self.starts = self.first_row + np.cumsum([0, *shape.rows], dtype=np.int64)
        self.end_row: int = int(self.starts[-1])

    @classmethod
    def open(cls, store: Store, folder: str, earlier: DuplicateIndex | None = None) -> DuplicateIndex:
        """A sealed one. Raises NotFoundError; ConflictError for one of another version."""
        text = store.read_bytes(f"{folder}/index.json")
        found, known = json.loads(text).get("version"), Shape.model_fields["version"].default
        if found != known:
            raise ConflictError(
                f"{folder} was made by another version of Winnow (index version {found!r}, this one reads {known}), so "
                "rows cannot be compared with it; curate its data again with this version"
            )
        return cls(store, folder, Shape.model_validate_json(text), earlier)

    @property
    def num_shards(self) -> int:
        """Depends on the rows alone, never on workers."""
        return max(-(-(self.end_row - self.first_row) * (1 + self.shape.bands) * 12 // SHARD_BYTES), 1)

    @cached_property
    def line(self) -> tuple[DuplicateIndex, ...]:
        """This index and those it goes on from, the oldest first."""
        return (self,) if self.earlier is None else (*self.earlier.line, self)

    @contextmanager
    def adding(self, unit: int) -> Iterator[Any]:
        """A function (content_hash uint64[n, 2], signed or None, apart uint64[n] or None) that adds rows of the unit
        batch by batch; the unit is there on a clean exit, as if for the first time.

        Raises ValueError where the rows do not add up to the unit's, or signatures are not of the index's shape.
        """
        parts: list[np.ndarray] = []
        with fingerprints_writer(self._store, self._name("units", unit, "fingerprints")) as write:

            def add(content_hash: np.ndarray, signed: Signed | None = None, apart: np.ndarray | None = None) -> None:
                self._check(content_hash, signed, apart)
                signatures, sets = (None, None) if signed is None else signed
                parts.append(row_keys(content_hash, signatures, self.shape.bands, apart))
                write(content_hash, sets)

            yield add
            rows = sum(len(part) for part in parts)
            if rows != self.shape.rows[unit]:
                raise ValueError(f"{rows} rows were added to unit {unit}, which has {self.shape.rows[unit]}")
        self._write_keys(unit, np.concatenate(parts) if parts else np.zeros((0, 1), np.uint64))

    def seek(self, shard: int) -> int:
        """Finds the candidate pairs of a shard, once all units are added; returns how many there are."""
        hear()
        keys, rows = self._added(shard)
        order = np.argsort(keys)
        keys, rows = keys[order], rows[order]
        self._write(self._name("shards", shard), _SHARD, [[keys, rows - self.first_row]])
        met = [index._with_keys(keys, self._bounds(shard)) for index in self.line[:-1]]
        found = bucket_pairs(
            np.concatenate([*(item[0] for item in met), keys]),
            np.concatenate([*(item[1] for item in met), rows]),
            self.first_row,
        )
        cuts = np.searchsorted(found.b, self.starts)
        batches = [[column[low:high] for column in found] for low, high in pairwise(cuts)]
        self._write(self._name("pairs", shard), _PAIRS, batches)
        return len(found.a)

    def match(self, unit: int, floor: float) -> Edges:
        """Verified pairs whose later row is of this unit, once all shards are sought: equal content tied to its first
        row (similarity 1), and every other candidate of similarity >= floor."""
        a, b, exact = self._candidates(unit)
        rows, mine = np.unique(b - self.starts[unit], return_inverse=True)
        own = self._fingerprints(unit, rows)
        similarity = np.empty(len(a), np.float32)
        for index in self.line:
            for theirs, (low, high) in enumerate(pairwise(np.searchsorted(a, index.starts))):
                if high > low:
                    hear()
                    rows, at = np.unique(a[low:high] - index.starts[theirs], return_inverse=True)
                    similarity[low:high] = similarities(index._fingerprints(theirs, rows), at, own, mine[low:high])
        true = np.where(exact, similarity == 1, (similarity < 1) & (similarity >= np.float32(floor)))
        return Edges(a[true], b[true], similarity[true])

    def seal(self) -> None:
        """The index is whole: it can be gone on from."""
        self._store.write_bytes(f"{self._folder}/index.json", self.shape.model_dump_json(indent=1).encode())

    def _check(self, content_hash: np.ndarray, signed: Signed | None, apart: np.ndarray | None) -> None:
        width = 0 if signed is None else signed.signatures.shape[1]
        if width != self.shape.num_perm:
            raise ValueError(f"signatures of {width} numbers for an index of {self.shape.num_perm}")
        signatures, sets = (None, None) if signed is None else signed
        for what, values in (("signatures", signatures), ("sets", sets), ("numbers to tell rows apart", apart)):
            if values is not None and len(values) != len(content_hash):
                raise ValueError(f"{len(values)} {what} for {len(content_hash)} content hashes")

    def _name(self, part: str, number: int, kind: str = "arrow") -> str:
        return f"{self._folder}/{part}/{number:05d}.{kind}"

    def _write(self, name: str, schema: pa.Schema, batches: list[list[np.ndarray]]) -> None:
        with self._store.writer(name) as sink, pa.ipc.new_file(sink, schema) as writer:
            for columns in batches:
                writer.write_batch(pa.record_batch([pa.array(column) for column in columns], schema=schema))

    def _write_keys(self, unit: int, keys: np.ndarray) -> None:
        """A batch for each shard, ascending by shard; within one as the rows come."""
        rows = np.repeat(np.arange(len(keys), dtype=np.uint32), keys.shape[1])
        flat = keys.reshape(-1)
        rows, flat = rows[flat != 0], flat[flat != 0]
        shards = _shard_of(flat, self.num_shards)
        order = np.argsort(shards, kind="stable")
        cuts = np.searchsorted(shards[order], np.arange(self.num_shards + 1))
        flat, rows = flat[order], rows[order]
        batches = [[flat[low:high], rows[low:high]] for low, high in pairwise(cuts)]
        self._write(self._name("units", unit, "keys.arrow"), _KEYS, batches)

    def _added(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """(keys uint64[n], row numbers int64[n]) of all units, as they come."""
        keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for unit, first in enumerate(self.starts[:-1]):
            with self._store.open_input(self._name("units", unit, "keys.arrow")) as source:
                batch = pa.ipc.open_file(source).get_batch(shard)
                keys.append(batch.column("key").to_numpy().copy())
                rows.append(batch.column("row").to_numpy().astype(np.int64) + first)
        return np.concatenate(keys), np.concatenate(rows)

    def _bounds(self, shard: int) -> tuple[int, int]:
        """The least key of a shard, and that of the next."""
        low, high = (-(-(number << 32) // self.num_shards) << 32 for number in (shard, shard + 1))
        return low, high

    def _with_keys(self, wanted: np.ndarray, bounds: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(keys, row numbers) of this index whose key is among the wanted, ascending ones; none lies out of bounds."""
        keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for shard in range(self.num_shards):
            low, high = self._bounds(shard)
            if len(wanted) == 0 or high <= bounds[0] or low >= bounds[1]:
                continue
            hear()
            with self._store.open_input(self._name("shards", shard)) as source:
                table = pa.ipc.open_file(source).get_batch(0)
                mine, theirs = table.column("key").to_numpy(), table.column("row").to_numpy()
                found = _occur_in(mine, wanted)
                keys.append(mine[found])
                rows.append(theirs[found] + self.first_row)
        return np.concatenate(keys), np.concatenate(rows)

    def _candidates(self, unit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(a, b, exact) of all shards, ascending by (a, b), each once."""
        parts = []
        for shard in range(self.num_shards):
            with self._store.open_input(self._name("pairs", shard)) as source:
                batch = pa.ipc.open_file(source).get_batch(unit)
                parts.append([batch.column(name).to_numpy(zero_copy_only=False).copy() for name in _PAIRS.names])
        a, b, exact = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((exact, b, a))
        a, b, exact = a[order], b[order], exact[order]
        new = np.ones(len(a), bool)
        new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1]) | (exact[1:] != exact[:-1])
        return a[new], b[new], exact[new]

    def _fingerprints(self, unit: int, rows: np.ndarray) -> Fingerprints:
        return read_fingerprints(self._store, self._name("units", unit, "fingerprints"), self.shape.rows[unit], rows)


def _shard_of(keys: np.ndarray, num_shards: int) -> np.ndarray:
    """int64[n]: equal ranges of keys."""
    return ((keys >> np.uint64(32)) * np.uint64(num_shards) >> np.uint64(32)).astype(np.int64)


def _occur_in(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """bool[n]: keys found among the wanted; both ascending. As many look-ups as there are wanted ones."""
    steps = np.zeros(len(keys) + 1, np.int64)
    np.add.at(steps, np.searchsorted(keys, wanted), 1)
    np.add.at(steps, np.searchsorted(keys, wanted, side="right"), -1)
    return np.asarray(np.cumsum(steps[:-1]) > 0)

"""Reads rows of a manifest: all live rows in order, or any rows by place. Without torch.

Knows nothing of epochs or ranks.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import IntegrityError, NotFoundError
from curator.shards.arrays import arrow_ints, grouped
from curator.shards.batch_cache import BatchCache
from curator.shards.index import ShardIndex
from curator.shards.layout import LABEL_BEFORE, SAMPLE_ID
from curator.shards.manifest import Manifest, ShardInfo, columns_of
from curator.shards.open_shard import OpenShard, open_index
from curator.shards.picked import Chosen, Picked, pick
from curator.shards.source import ShardSource, StoreSource
from curator.storage import Store

__all__ = ["ShardCopies", "ShardReader"]

CACHE_BYTES = 256 * 2**20
NO_ROWS = np.empty(0, dtype=np.uint32)
T = TypeVar("T")


class ShardCopies(Protocol):
    """Keeps shards in a form that is cheaper to read."""

    def of(self, shard: OpenShard) -> OpenShard:
        """The same rows, from the copy."""

    def discard(self, digest: str) -> None:
        """Forgets a copy that proved damaged."""


class DecodedBatches(Protocol):
    """Keeps decoded record batches; may be called from several threads."""

    def of(self, key: Hashable, make: Callable[[], pa.RecordBatch]) -> tuple[pa.RecordBatch, bool]:
        """The batch kept under a key, or what `make` makes, and whether it costs nothing to hold on to."""


@dataclass(frozen=True)
class _Shape:
    """Rows, rows of a record batch, and record batches before it, of each shard: int64[num_shards] each."""

    manifest: Manifest
    rows: np.ndarray
    batch_rows: np.ndarray
    first_batch: np.ndarray

    @classmethod
    def of(cls, manifest: Manifest) -> _Shape:
        rows = np.array([info.rows for info in manifest.shards], dtype=np.int64)
        batch_rows = np.array([info.batch_rows for info in manifest.shards], dtype=np.int64)
        first = np.cumsum([0, *(info.num_batches for info in manifest.shards)])[:-1]
        return cls(manifest, rows, batch_rows, first)

    def check(self, shard: np.ndarray, row: np.ndarray) -> None:
        """Raises NotFoundError for a place that is in no shard."""
        if not shard.size:
            return
        if 0 <= shard.min() <= shard.max() < len(self.rows) and row.min() >= 0 and (row < self.rows.take(shard)).all():
            return
        bad = (shard < 0) | (shard >= len(self.rows))
        bad[~bad] = (row[~bad] < 0) | (row[~bad] >= self.rows[shard[~bad]])
        first = int(np.flatnonzero(bad)[0])
        raise NotFoundError(f"no row {row[first]} in shard number {shard[first]} of {self.manifest.id}")


class ShardReader:
    """Rows of manifests from one source; safe to use from several threads.

    source: a root directory, a Store, or any ShardSource. cache_bytes: decoded record batches kept in memory for
    `take`. decoded: keeps them instead. turn: which of how many readers, in as many processes, that share `decoded` and
    take from the same record batches at about the same time: each decodes some of every few first, and finds those of
    the others next. num_threads: that decode for one `take`. copies: where to keep shards uncompressed. columns: all
    that will be asked for; a source that can leaves the others out (`projection`).

    A shard or an index that proves damaged is forgotten and asked for once more, then an error: here and nowhere else.
    A source may do the same about what arrives damaged; its error is not tried again.
    """

    def __init__(
        self,
        source: str | Store | ShardSource,
        *,
        cache_bytes: int = CACHE_BYTES,
        decoded: DecodedBatches | None = None,
        turn: tuple[int, int] = (0, 1),
        max_open: int = 256,
        num_threads: int = 2,
        copies: ShardCopies | None = None,
        columns: Sequence[str] | None = None,
    ):
        self.source: ShardSource = StoreSource(source) if isinstance(source, (str, Store)) else source
        self._turn, self._wanted = turn, columns
        self._max_open, self._num_threads, self._copies = max_open, num_threads, copies
        self._open: OrderedDict[tuple[str, str | None], OpenShard] = OrderedDict()
        self._decoded: DecodedBatches = BatchCache(cache_bytes) if decoded is None else decoded
        self._lock = threading.RLock()
        self._shaped: _Shape | None = None
        self._decoders: tuple[int, ThreadPoolExecutor] | None = None  # and the process whose threads they are

    def iter_batches(self, manifest: Manifest | str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Every live row once, shard by shard in stored order, labels overlaid; batches of up to 4,096 rows.

        Raises NotFoundError, IntegrityError naming shard and offset, RequestError on an unknown column.
        """
        manifest = self._resolve(manifest)
        for number, info in enumerate(manifest.shards):
            if sum(info.live):
                live = self.open(manifest, number).index.live_rows
                edges = np.searchsorted(live, np.arange(info.num_batches + 1) * info.batch_rows)
                for batch in np.flatnonzero(np.diff(edges)).tolist():
                    rows = self._decode(manifest, number, batch, columns)
                    chosen = live[edges[batch] : edges[batch + 1]] - np.uint32(batch * info.batch_rows)
                    yield rows if len(chosen) == rows.num_rows else rows.take(arrow_ints(chosen))

    def take(
        self,
        manifest: Manifest | str,
        places: np.ndarray | Sequence[tuple[int, int]],
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatch:
        """The rows at (shard number, row number) places, in their order; each record batch is decoded once.

        places: int64[m, 2]; labels are overlaid; rows that do not live are given too. Raises as `iter_batches`,
        and NotFoundError for a place outside the shards.
        """
        manifest = self._resolve(manifest)
        where = np.asarray(places, dtype=np.int64).reshape(-1, 2)
        return self.pick(manifest, where, columns).take(np.arange(len(where)))

    def pick(self, manifest: Manifest, places: np.ndarray, columns: Sequence[str] | None = None) -> Picked:
        """As `take`, but the rows stay as they come until they are asked for in some order. places: int64[m, 2]."""
        return self.pick_all(manifest, [places], columns)[0]

    def pick_all(
        self, manifest: Manifest, wanted: Sequence[np.ndarray], columns: Sequence[str] | None = None
    ) -> list[Picked]:
        """`pick` of several lists of places, with each record batch decoded once for all of them."""
        shape = self._shape(manifest)
        which = np.repeat(np.arange(len(wanted)), [len(places) for places in wanted])
        shard, row = np.concatenate(wanted).T
        shape.check(shard, row)
        batch, row = np.divmod(row, shape.batch_rows.take(shard))
        starts = np.cumsum([0, *(len(places) for places in wanted)])

        def rows_of(group: np.ndarray) -> list[tuple[int, Chosen]]:
            number = int(shard[group[0]])
            (rows, stays), found = self._cached(manifest, number, int(batch[group[0]]), columns), []
            for part in np.split(group, np.flatnonzero(np.diff(which[group])) + 1):
                of = int(which[part[0]])
                if stays:
                    found.append((of, Chosen(rows, part - starts[of], row.take(part))))
                else:
                    mine = rows.take(arrow_ints(row.take(part)))
                    found.append((of, Chosen(mine, part - starts[of], np.arange(len(part)))))
            return found

        groups = grouped(shape.first_batch.take(shard) + batch)
        pointed = self._copies is not None and self._all_mapped(manifest, [int(shard[group[0]]) for group in groups])
        found = [rows_of(group) for group in groups] if pointed else self._in_parallel(rows_of, groups)
        chosen: list[list[Chosen]] = [[] for _ in wanted]
        for of, part in itertools.chain.from_iterable(found):
            chosen[of].append(part)
        schema = next((part.batch.schema for parts in chosen for part in parts), None)
        schema = self._empty(manifest, columns).schema if schema is None else schema
        return [pick(schema, len(places), parts) for places, parts in zip(wanted, chosen, strict=True)]

    def batch(
        self, manifest: Manifest, shard: int, number: int, columns: Sequence[str] | None = None
    ) -> pa.RecordBatch:
        """One record batch of a shard, living rows or not, labels overlaid; nothing of it is kept in memory.

        Raises as `iter_batches`.
        """
        return self._decode(manifest, shard, number, columns)

    def locate(self, manifest: Manifest | str, sample_ids: pa.Array) -> np.ndarray:
        """The (shard number, row number) of each sample id, kept or quarantined, living or not: int64[m, 2].

        sample_ids: fixed_size_binary(16) without repeats. Reads the id column of shard after shard until all are
        found. Raises NotFoundError listing the first ten that are nowhere.
        """
        manifest = self._resolve(manifest)
        places = np.full((len(sample_ids), 2), -1, dtype=np.int64)
        missing = len(sample_ids)
        for shard, info in enumerate(manifest.shards):
            for batch in range(info.num_batches if missing else 0):
                ids = self._decode(manifest, shard, batch, [SAMPLE_ID]).column(0)
                found = pc.index_in(ids, value_set=sample_ids)
                rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
                if rows.size:
                    which = found.take(pa.array(rows)).to_numpy(zero_copy_only=False)
                    places[which, 0], places[which, 1] = shard, rows + batch * info.batch_rows
                    missing -= rows.size
        if missing:
            lost = [sample_ids[int(i)].as_py().hex() for i in np.flatnonzero(places[:, 0] < 0)]
            raise NotFoundError(
                f"{len(lost)} sample ids are in no shard of {manifest.id}: {', '.join(lost[:10])}"
                f"{' …' if len(lost) > 10 else ''}. Take ids from this run's ledger."
            )
        return places

    def open(self, manifest: Manifest, shard: int) -> OpenShard:
        """A shard of the manifest by number, its header, footer and index checked. Raises as `iter_batches`."""
        info = manifest.shards[shard]
        with self._lock:
            opened = self._open.get((info.digest, info.index))
            if opened is not None:
                self._open.move_to_end((info.digest, info.index))
                return opened
        return self._sound(manifest, shard, lambda opened: opened)

    def _resolve(self, manifest: Manifest | str) -> Manifest:
        return self.source.manifest(manifest) if isinstance(manifest, str) else manifest

    def _decode(self, manifest: Manifest, shard: int, batch: int, columns: Sequence[str] | None) -> pa.RecordBatch:
        return self._sound(manifest, shard, lambda opened: opened.batch(batch, columns))

    def _sound(self, manifest: Manifest, shard: int, use: Callable[[OpenShard], T]) -> T:
        """What `use` makes of an open shard; of a fresh copy when this one proves damaged."""
        info = manifest.shards[shard]
        key = (info.digest, info.index)

        def fetch(again: bool) -> Any:
            with self._lock:  # the second time not what another thread may have opened of the damaged copy
                opened = None if again else self._open.get(key)
            return self._brought(manifest, info) if opened is None else opened

        def read(data: Any) -> T:
            return use(data if isinstance(data, OpenShard) else self._opened(manifest, info, *data))

        def forget() -> bool:
            forgotten = self._discard(info.digest)
            with self._lock:
                self._open.pop(key, None)
            return forgotten

        return _once_more(fetch, read, forget)

    def _brought(self, manifest: Manifest, info: ShardInfo) -> tuple[Any, bool]:
        """The shard's bytes, and whether they are those of the wanted columns only."""
        project = getattr(self.source, "projection", None)
        if project is not None and self._wanted is not None:
            wanted = {*self._wanted}
            if manifest.label is not None and wanted & {manifest.label, LABEL_BEFORE}:
                wanted |= {manifest.label, LABEL_BEFORE}  # an overlay needs both
            if wanted < {column.name for column in manifest.columns}:
                data = project(info.digest, sorted(wanted))
                if data is not None:
                    return data, True
        return self.source.shard(info.digest), False

    def _opened(self, manifest: Manifest, info: ShardInfo, data: Any, projected: bool) -> OpenShard:
        kind = OpenShard.of_columns if projected else OpenShard
        opened = kind(info, data, self._index(info), manifest.label)
        if self._copies is not None:
            opened = self._copies.of(opened)
        known = columns_of(opened.schema)
        if known != tuple(column for column in manifest.columns if not projected or column in known):
            raise IntegrityError(f"shard {info.digest} has the columns {opened.schema.names}, its manifest says others")
        with self._lock:
            self._open[(info.digest, info.index)] = opened
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
        return opened

    def _index(self, info: ShardInfo) -> ShardIndex:
        if info.index is None:
            return ShardIndex((NO_ROWS, NO_ROWS, NO_ROWS))
        digest = info.index
        return _once_more(
            lambda _: self.source.index(digest),
            lambda data: open_index(data, info),
            lambda: self.source.discard(digest),
        )

    def _discard(self, digest: str) -> bool:
        """Forgets copies of a damaged shard; False when there was none but the only one."""
        if self._copies is not None:
            self._copies.discard(digest)
        return self.source.discard(digest) or self._copies is not None

    def _cached(
        self, manifest: Manifest, shard: int, batch: int, columns: Sequence[str] | None
    ) -> tuple[pa.RecordBatch, bool]:
        """A record batch, and whether it is only pointed at."""
        info = manifest.shards[shard]
        if self.open(manifest, shard).mapped:
            return self._decode(manifest, shard, batch, columns), True
        key = (info.digest, info.index, batch, None if columns is None else tuple(columns))
        return self._decoded.of(key, lambda: self._decode(manifest, shard, batch, columns))

    def _all_mapped(self, manifest: Manifest, shards: Sequence[int]) -> bool:
        """Whether the record batches are only pointed at; a damaged one is left to `_decode`."""
        try:
            return all(self.open(manifest, shard).mapped for shard in dict.fromkeys(shards))
        except IntegrityError:
            return False

    def _in_parallel(self, rows_of: Callable[[np.ndarray], T], groups: list[np.ndarray]) -> list[T]:
        """Decoding and copying let go of the interpreter, so threads share them."""
        if len(groups) < 2 or self._num_threads == 1:
            return [rows_of(group) for group in groups]
        if self._decoders is None or self._decoders[0] != os.getpid():  # a fork has no threads
            # they stay: new threads would ask for new memory, and decoding takes much of it
            self._decoders = os.getpid(), ThreadPoolExecutor(self._num_threads, "winnow-decode")
        number, total = self._turn
        first, at_once = number * self._num_threads, total * self._num_threads
        parts = [groups[low : low + at_once] for low in range(0, len(groups), at_once)]
        turned = [group for part in parts for group in part[first:] + part[:first]]
        return list(self._decoders[1].map(rows_of, turned))

    def _shape(self, manifest: Manifest) -> _Shape:
        """Of the manifest asked for last: it is worked out once."""
        shaped = self._shaped
        if shaped is None or shaped.manifest is not manifest:
            self._shaped = shaped = _Shape.of(manifest)
        return shaped

    def _empty(self, manifest: Manifest, columns: Sequence[str] | None) -> pa.RecordBatch:
        if not manifest.shards:
            raise NotFoundError(f"{manifest.id} has no shards, so its rows have no schema")
        schema = self.open(manifest, 0).schema
        chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        return pa.RecordBatch.from_pylist([], schema=chosen)


def _once_more(fetch: Callable[[bool], Any], read: Callable[[Any], T], forget: Callable[[], bool]) -> T:
    """What `read` makes of what `fetch` brings; when that is damaged, it is forgotten and fetched once more. `fetch`
    is told whether it is the second time."""
    data = fetch(False)
    try:
        return read(data)
    except IntegrityError:
        if not forget():
            raise
    return read(fetch(True))

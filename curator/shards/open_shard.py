"""One shard opened for reading: every byte checked before it is used, labels overlaid.

Knows one shard and its index; nothing of manifests, order or caching.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.digest import sha256_hex
from curator.errors import IntegrityError, RequestError
from curator.shards.index import Overlay, ShardIndex
from curator.shards.layout import LABEL_BEFORE
from curator.shards.manifest import ShardInfo
from curator.shards.writer import MAGIC_BYTES, frame_checksum

__all__ = ["OpenShard", "open_index", "page_checksum"]

PAGE_BYTES = 4096


class OpenShard:
    """A shard's bytes and its index. Safe to use from several threads.

    label: the manifest's label column. mapped: the batches are uncompressed, so that reading one costs no memory, and
    their checksums are `page_checksum`s.
    """

    def __init__(self, info: ShardInfo, data: Any, index: ShardIndex, label: str | None, *, mapped: bool = False):
        """Raises IntegrityError when the length, the header or the footer is not what the manifest says."""
        self.info, self.index, self.label, self.mapped = info, index, label, mapped
        self._data = data
        self._view = memoryview(data)
        self._checked = np.zeros(info.num_batches, dtype=bool)
        self._free: dict[tuple[int, ...], list[Any]] = {}
        self._lock = threading.Lock()
        if len(self._view) != info.bytes:
            raise IntegrityError(
                f"shard {info.digest} has {len(self._view)} bytes, its manifest says {info.bytes}: it is cut off or "
                f"grown at offset {min(len(self._view), info.bytes)}. Restore it from a copy."
            )
        if frame_checksum(self._view, info.batch_offsets[0], info.batch_offsets[-1]) != info.frame_checksum:
            raise IntegrityError(
                f"shard {info.digest} has a damaged header (offset 0) or footer (offset {info.batch_offsets[-1]}). "
                "Restore it from a copy."
            )
        with self._reader(()) as reader:
            self.schema: pa.Schema = reader.schema

    @classmethod
    def of_columns(cls, info: ShardInfo, data: Any, index: ShardIndex, label: str | None) -> OpenShard:
        """From a file, checked by whoever brought it, with some of the shard's columns in the shard's record batches.

        Raises IntegrityError when the record batches are not as many as the shard's.
        """
        offsets, source = [], pa.BufferReader(data)
        source.seek(MAGIC_BYTES)
        for _ in range(info.num_batches + 1):  # the schema is the first message
            pa.ipc.read_message(source)
            offsets.append(source.tell())
        view = memoryview(data)
        frame = frame_checksum(view, offsets[0], offsets[-1])
        shape = {"bytes": len(view), "batch_offsets": tuple(offsets), "frame_checksum": frame}
        opened = cls(info.model_copy(update=shape), data, index, label)
        with opened._reader(()) as reader:
            if reader.num_record_batches != info.num_batches:
                raise IntegrityError(
                    f"columns of shard {info.digest} came in {reader.num_record_batches} record batches"
                )
        opened._checked[:] = True
        return opened

    def batch(self, number: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Record batch `number` decoded, labels overlaid, with the named columns (all when None).

        Raises IntegrityError naming the shard and the offset, RequestError on an unknown column.
        """
        names = self.schema.names if columns is None else list(columns)
        overlay = self._overlay_of(number) if {self.label, LABEL_BEFORE} & set(names) else None
        if overlay is None:
            return self.stored(number, names)
        wanted = [name for name in self.schema.names if name in {*names, self.label, LABEL_BEFORE}]
        return self._overlaid(self.stored(number, wanted), overlay).select(names)

    def stored(self, number: int, names: Sequence[str]) -> pa.RecordBatch:
        """Record batch `number` as written, without the overlay. Raises as `batch`."""
        fields = self._fields(names)
        self._check(number)
        try:
            with self._reader(fields) as reader:
                rows = reader.get_batch(number)
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(
                f"shard {self.info.digest}, offset {self.info.batch_offsets[number]}: {error}. Restore it from a copy."
            ) from error
        return rows if rows.schema.names == list(names) else rows.select(list(names))

    def _fields(self, names: Sequence[str]) -> tuple[int, ...]:
        """The column numbers to decode, rising; () stands for all."""
        unknown = [name for name in names if name not in self.schema.names]
        if unknown:
            raise RequestError(f"shards have no column {unknown[0]!r}; they have {self.schema.names}")
        fields = tuple(i for i, name in enumerate(self.schema.names) if name in names)
        if self.mapped or len(fields) == len(self.schema):
            return ()  # a reader of some columns copies them; one of all columns of a mapped file only points at them
        return fields

    @contextmanager
    def _reader(self, fields: tuple[int, ...]) -> Iterator[Any]:
        """A reader of these columns that no other thread uses meanwhile."""
        with self._lock:
            free = self._free.setdefault(fields, [])
            reader = free.pop() if free else None
        if reader is None:
            options = pa.ipc.IpcReadOptions(included_fields=list(fields), use_threads=False)
            reader = pa.ipc.open_file(pa.BufferReader(self._data), options=options)
        yield reader
        with self._lock:
            free.append(reader)

    def _check(self, number: int) -> None:
        """Compares a batch's bytes with its checksum, once."""
        if self._checked[number]:
            return
        low, high = self.info.batch_offsets[number : number + 2]
        checksum = page_checksum if self.mapped else zlib.crc32
        if checksum(self._view[low:high]) != self.info.batch_checksums[number]:
            raise IntegrityError(
                f"shard {self.info.digest}, offset {low}: record batch {number} does not match its checksum. "
                "Restore it from a copy."
            )
        self._checked[number] = True

    def _overlay_of(self, number: int) -> Overlay | None:
        """The overlay's part in one record batch, rows counted from its start."""
        overlay = self.index.overlay
        if overlay is None:
            return None
        first = number * self.info.batch_rows
        low, high = np.searchsorted(overlay.rows, [first, first + self.info.batch_rows])
        if low == high:
            return None
        return Overlay(overlay.rows[low:high] - np.uint32(first), overlay.labels[low:high])

    def _overlaid(self, rows: pa.RecordBatch, overlay: Overlay) -> pa.RecordBatch:
        """The given label moves to `label_before` where the new one differs from it."""
        mask = np.zeros(rows.num_rows, dtype=bool)
        mask[overlay.rows] = True
        stored, before = rows.column(self.label), rows.column(LABEL_BEFORE)
        given = pc.coalesce(before, stored)
        new = pc.replace_with_mask(stored, pa.array(mask), overlay.labels)
        same = pc.fill_null(pc.equal(new, given), False)
        before = pc.if_else(pa.array(mask), pc.if_else(same, pa.nulls(len(given), given.type), given), before)
        for name, column in ((self.label, new), (LABEL_BEFORE, before)):
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), column)
        return rows


def page_checksum(data: memoryview) -> int:
    """CRC-32 of the sums of the 4 KiB pages' 64-bit words, and of what is left over: near the speed of memory.

    Any flipped bit and any page lost, zeroed or moved changes it; words that change places within a page do not.
    """
    whole = len(data) // PAGE_BYTES * PAGE_BYTES
    words = np.frombuffer(data[:whole], dtype="<u8").reshape(-1, PAGE_BYTES // 8)
    return zlib.crc32(data[whole:], zlib.crc32(words.sum(axis=1, dtype=np.uint64).tobytes()))


def open_index(data: Any, info: ShardInfo) -> ShardIndex:
    """The index of a shard from a `pyarrow.Buffer`. Raises IntegrityError when it is not what the manifest says."""
    if info.index is None or sha256_hex(memoryview(data)) != info.index:
        raise IntegrityError(
            f"index {info.index} of shard {info.digest} does not match its digest; restore it from a copy"
        )
    index = ShardIndex.from_buffer(data, info.index)
    if index.live_counts != info.live:
        raise IntegrityError(f"index {info.index} lists {index.live_counts} live rows, its manifest says {info.live}")
    return index

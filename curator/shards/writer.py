"""Writes rows as shards: Arrow IPC files of zstd record batches, named by their content.

Knows nothing of verdicts, difficulty or manifests' other fields. Holds at most one shard's compressed bytes and one
record batch of rows.
"""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import pyarrow as pa

from curator.digest import sha256_hex
from curator.errors import InputError
from curator.shards.canonical import canonical_batch, plain_schema
from curator.shards.layout import BATCH_ROWS, shard_name
from curator.shards.manifest import ShardInfo
from curator.shards.publishing import publish
from curator.storage import Store

__all__ = ["MAGIC_BYTES", "TARGET_BYTES", "ShardWriter", "frame_checksum"]

TARGET_BYTES = 64 * 2**20
BATCH_BYTES = 64 * 2**20
PROBE_ROWS = 64
MAGIC_BYTES = 8  # "ARROW1" and two of padding, before the schema message


class ShardWriter:
    """Cuts a stream of rows into shards; equal rows in equal order give equal digests, however they are batched.

    store: where to write. schema: of the batches to come, `sample_id` among them; dictionaries, extension types and
    views are stored plain. target_bytes: a shard ends with the first record batch that reaches this size on disk.
    quarantine: marks the shards as holding dropped rows. batch_rows: of a record batch; when None, 4,096, or the power
    of two below at which 64 MiB hold them, going by the first 64 rows: what is held in memory stays bounded.
    """

    def __init__(
        self,
        store: Store,
        schema: pa.Schema,
        *,
        target_bytes: int = TARGET_BYTES,
        quarantine: bool = False,
        batch_rows: int | None = None,
    ):
        self.schema = plain_schema(schema)
        self._store, self._target_bytes, self._quarantine = store, target_bytes, quarantine
        self._batch_rows = batch_rows
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._shard: _OpenShard | None = None
        self._done: list[ShardInfo] = []
        self._closed = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows. Raises InputError when the columns do not fit, ValueError after `close`."""
        if self._closed:
            raise ValueError("write to a closed ShardWriter")
        unknown = sorted(set(batch.schema.names) - set(self.schema.names))
        if unknown:
            raise InputError(f"a batch has columns {unknown} that the shard schema lacks", column=unknown[0])
        while batch.num_rows:
            room = (self._batch_rows or PROBE_ROWS) - self._pending_rows
            part, batch = batch.slice(0, room), batch.slice(room)
            self._pending.append(part)
            self._pending_rows += part.num_rows
            if self._batch_rows is None and self._pending_rows == PROBE_ROWS:
                self._batch_rows = self._fitting_rows()
            if self._pending_rows == self._batch_rows:
                self._flush()

    def close(self) -> list[ShardInfo]:
        """Publishes what is left and returns all shards in order; none for no rows."""
        if not self._closed:
            if self._pending_rows:
                self._flush()
            self._publish()
            self._closed = True
        return list(self._done)

    def _fitting_rows(self) -> int:
        probe = canonical_batch(self._pending, self.schema)
        fitting = int(BATCH_BYTES * probe.num_rows / max(probe.nbytes, 1))
        return min(max(1 << (fitting.bit_length() - 1) if fitting else 0, PROBE_ROWS), BATCH_ROWS)

    def _flush(self) -> None:
        rows = canonical_batch(self._pending, self.schema)
        self._pending, self._pending_rows = [], 0
        if self._shard is None:
            self._shard = _OpenShard(self.schema)
        self._shard.append(rows)
        if self._shard.num_bytes >= self._target_bytes:
            self._publish()

    def _publish(self) -> None:
        if self._shard is None:
            return
        data, info = self._shard.finish(self._quarantine, self._batch_rows or BATCH_ROWS)
        self._shard = None
        publish(self._store, shard_name(info.digest), data)
        self._done.append(info)


class _OpenShard:
    """The shard being written, in memory until its name is known."""

    def __init__(self, schema: pa.Schema):
        self._sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd", unify_dictionaries=False)
        self._writer: Any = pa.ipc.new_file(self._sink, schema, options=options)
        self._offsets = [MAGIC_BYTES + len(schema.serialize())]
        self._rows = 0

    @property
    def num_bytes(self) -> int:
        return int(self._sink.tell())

    def append(self, rows: pa.RecordBatch) -> None:
        self._writer.write_batch(rows)
        self._rows += rows.num_rows
        self._offsets.append(self.num_bytes)

    def finish(self, quarantine: bool, batch_rows: int) -> tuple[memoryview, ShardInfo]:
        self._writer.close()
        data = memoryview(self._sink.getvalue())
        ranges = itertools.pairwise(self._offsets)
        info = ShardInfo(
            digest=sha256_hex(data),
            rows=self._rows,
            bytes=len(data),
            batch_rows=batch_rows,
            batch_offsets=tuple(self._offsets),
            batch_checksums=tuple(zlib.crc32(data[low:high]) for low, high in ranges),
            frame_checksum=frame_checksum(data, self._offsets[0], self._offsets[-1]),
            quarantine=quarantine,
        )
        return data, info


def frame_checksum(data: memoryview, first: int, last: int) -> int:
    """CRC-32 of everything but the record batches, which lie in [first, last)."""
    return zlib.crc32(data[last:], zlib.crc32(data[:first]))

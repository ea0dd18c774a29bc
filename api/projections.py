"""Shards with some of their columns: made once, kept on local disk up to a bound, the least recently used gone first.

Knows shards' bytes and a folder; nothing of HTTP or of whose a shard is. A projection has the rows of its shard in its
record batches, so an index or a plan finds the same row in it; labels are as stored, without the manifest's overlay.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from curator.digest import sha256_hex
from curator.errors import InputError, IntegrityError
from curator.storage import Store

__all__ = ["Projection", "Projections"]

FORM: Final = "1"
"""Part of a projection's key: raise it when the bytes of equal columns change."""
AT_ONCE: Final = 2
"""Projections made at the same time: each decodes and compresses a whole shard."""


class Projection(NamedTuple):
    """A file below the folder of projections; `digest` is the SHA-256 of its bytes."""

    name: str
    digest: str
    bytes: int


class Projections:
    """A folder of them. limit_bytes: the most it may hold, the one just made aside."""

    def __init__(self, folder: str | os.PathLike[str], limit_bytes: int):
        self.store = Store.open(folder)
        self._folder, self._limit = Path(folder), limit_bytes
        self._turn = threading.Semaphore(AT_ONCE)

    def of(self, store: Store, path: str, digest: str, columns: Sequence[str]) -> Projection:
        """The shard that lies at `path` with these columns, in its own order. Raises InputError for a column it does
        not have, IntegrityError when its bytes are not what its digest says."""
        key = sha256_hex("\0".join([FORM, digest, *sorted(set(columns))]).encode())[:32]
        found = self._kept(key)
        if found is None:
            with self._turn:
                found = self._kept(key) or self._made(key, store, path, digest, columns)
                self._evict(keep=found.name)
        return found

    def _kept(self, key: str) -> Projection | None:
        for place in self._folder.glob(f"{key[:2]}/{key}-*.arrow"):
            try:
                os.utime(place)
                return Projection(f"{key[:2]}/{place.name}", place.stem.partition("-")[2], place.stat().st_size)
            except FileNotFoundError:
                continue  # made room for another meanwhile
        return None

    def _made(self, key: str, store: Store, path: str, digest: str, columns: Sequence[str]) -> Projection:
        with store.open_input(path) as source:
            data = source.read_buffer()
        if sha256_hex(memoryview(data)) != digest:
            raise IntegrityError(f"shard {digest} is not what its digest says; restore it from a copy")
        written = _projected(data, columns)
        name = f"{key[:2]}/{key}-{hashlib.sha256(written).hexdigest()}.arrow"
        self.store.write_bytes(name, written)
        return Projection(name, name.rpartition("-")[2].removesuffix(".arrow"), len(written))

    def _evict(self, keep: str) -> None:
        files = []
        for place in self._folder.glob("*/*.arrow"):
            try:
                files.append((place.stat().st_mtime, place.stat().st_size, place))
            except FileNotFoundError:
                continue
        total = sum(size for _, size, _ in files)
        for _, size, place in sorted(files):
            if total <= self._limit:
                break
            if place != self._folder / keep:
                place.unlink(missing_ok=True)  # whoever is sending it has it open
                total -= size


def _projected(data: Any, columns: Sequence[str]) -> memoryview:
    """The Arrow IPC file, written batch by batch as shards are."""
    with pa.ipc.open_file(pa.BufferReader(data)) as whole:
        names = whole.schema.names
    unknown = sorted(set(columns) - set(names))
    if unknown:
        raise InputError(f"this shard has the columns {', '.join(names)}", column=unknown[0])
    fields = [place for place, name in enumerate(names) if name in set(columns)]
    options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.open_file(pa.BufferReader(data), options=options) as reader:
        written = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        with pa.ipc.new_file(sink, reader.schema, options=written) as writer:
            for number in range(reader.num_record_batches):
                writer.write_batch(reader.get_batch(number))
    return memoryview(sink.getvalue())

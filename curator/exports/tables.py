"""Exports: kept rows as Parquet or JSONL files of bounded size.

Knows formats, nothing of manifests. sample_id is written as hex. In JSONL bytes become base64 text, times ISO text,
decimals text; NaN and infinities, for which JSON has no form (RFC 8259), are null there, as parsers outside Python
refuse them. (Loaders of tars and MDS shards are Python's: `archives.py` keeps them.)
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pyarrow as pa

from curator.errors import RequestError
from curator.sample_id import to_hex
from curator.shards.layout import SAMPLE_ID
from curator.storage import Store

__all__ = [
    "as_text",
    "export_jsonl",
    "export_parquet",
    "files",
    "parts",
    "with_hex_ids",
]

FILE_BYTES: Final = 256 << 20
"""Uncompressed bytes after which the next file begins."""


def export_parquet(batches: Iterable[pa.RecordBatch], name: str, store: Store) -> list[str]:
    """Writes `<name>-00000.parquet` and so on; returns the names."""
    import pyarrow.parquet as pq

    def opened(sink: Any, schema: pa.Schema, stack: ExitStack) -> Callable[[pa.RecordBatch], None]:
        writer = stack.enter_context(pq.ParquetWriter(sink, schema, compression="zstd"))
        return lambda batch: writer.write_batch(batch)

    return files(batches, name, store, ".parquet", opened)


def export_jsonl(batches: Iterable[pa.RecordBatch], name: str, store: Store) -> list[str]:
    """Writes `<name>-00000.jsonl` and so on; returns the names."""

    def opened(sink: Any, schema: pa.Schema, stack: ExitStack) -> Callable[[pa.RecordBatch], None]:
        def write(batch: pa.RecordBatch) -> None:
            sink.write(b"".join(_json(row) + b"\n" for row in batch.to_pylist()))

        return write

    return files(batches, name, store, ".jsonl", opened)


def files(
    batches: Iterable[pa.RecordBatch],
    name: str,
    store: Store,
    extension: str,
    opened: Callable[[Any, pa.Schema, ExitStack], Callable[[pa.RecordBatch], None]],
) -> list[str]:
    """Writes batches, ids in hex, to files of about FILE_BYTES; `opened` makes what writes a batch to a sink."""
    names = []
    for number, part in enumerate(parts(map(with_hex_ids, batches), FILE_BYTES)):
        names.append(f"{name}-{number:05d}{extension}")
        with store.writer(names[-1]) as sink, ExitStack() as stack:
            write = None
            for batch in part:
                write = write or opened(sink, batch.schema, stack)
                write(batch)
    return names


def parts(batches: Iterator[pa.RecordBatch], file_bytes: int) -> Iterator[Iterator[pa.RecordBatch]]:
    """The batches in runs of about `file_bytes`; each run is used up before the next is asked for."""
    held = next(batches, None)
    while held is not None:
        done = False

        def part() -> Iterator[pa.RecordBatch]:
            nonlocal held, done
            size = 0
            while held is not None and size < file_bytes:
                size += held.nbytes
                yield held
                held = next(batches, None)
            done = True

        yield part()
        assert done, "a part was left half read"


def with_hex_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with sample_id as text."""
    position = batch.schema.get_field_index(SAMPLE_ID)
    return batch.set_column(position, pa.field(SAMPLE_ID, pa.string()), to_hex(batch.column(position)))


def _json(value: Any) -> bytes:
    """A value as JSON that every parser reads. Raises RequestError for one that has no JSON form."""
    try:
        return json.dumps(value, ensure_ascii=False, default=as_text, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=as_text, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """The value with null for every NaN and infinity in it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def as_text(value: Any) -> str:
    """The JSON form of a value that JSON has none for. Raises RequestError."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise RequestError(f"a value of type {type(value).__name__} has no JSON form; export as parquet")

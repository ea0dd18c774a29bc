"""Record batches into a file of their own: Parquet or Arrow, whole or not at all.

Knows file formats, nothing of what the rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from api.cli.outputs import output_file, written_to
from curator.errors import RequestError
from curator.storage import Store

__all__ = ["decoded", "table_writer", "writable"]


def writable(path: str, extensions: tuple[str, ...]) -> tuple[Store, str]:
    """The store and name of an output file. Raises RequestError for an extension that is none of these, or a place
    where nothing can be written."""
    if not path.endswith(extensions):
        raise RequestError(f"--out {path!r} must end in {' or '.join(extensions)}")
    return output_file(path)


@contextmanager
def table_writer(path: str, schema: pa.Schema) -> Iterator[Any]:
    """Something with `write_batch` that makes a .parquet, .arrow or .arrows file; it is there on a clean exit only."""
    store, name = writable(path, (".parquet", ".arrow", ".arrows"))
    with written_to(path), store.writer(name) as sink:
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                yield writer
        else:
            make = pa.ipc.new_file if name.endswith(".arrow") else pa.ipc.new_stream
            with make(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
                yield writer


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionary columns, and lists of them, as plain values, which every reader understands."""
    columns = [column.cast(_plain(column.type)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=plain_schema(batch.schema))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `decoded` batches; metadata stays."""
    fields = [pa.field(field.name, _plain(field.type), field.nullable) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind

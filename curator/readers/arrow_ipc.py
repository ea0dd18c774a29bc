"""Arrow IPC: the file format by ranges of record batches, the stream format from the front as one unit.

Knows nothing of other files of the set. Batches come out unchecked: offsets in a hostile file may point anywhere, so
nothing here looks into them, and whoever reads validates in full before it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from curator.errors import InputError
from curator.readers.columns import normal_schema
from curator.readers.limits import Limits
from curator.readers.opening import damaged, open_file
from curator.readers.unit import Source, WorkUnit, group_units

__all__ = ["read_arrow", "scan_arrow"]

MAGIC: Final = b"ARROW1"


def scan_arrow(
    source: Source, digest: str, unit_rows: int, limits: Limits
) -> tuple[pa.Schema, int, tuple[WorkUnit, ...]]:
    """Schema, rows and units. Raises InputError."""
    with _batches(source, limits) as (raw, batches):
        schema = normal_schema(raw, source.uri, limits)
        groups = [(batch.num_rows, batch.get_total_buffer_size()) for batch in batches]
    rows = sum(rows for rows, _ in groups)
    if not rows:
        raise InputError("has columns but no rows; leave it out", file=source.uri)
    if source.format == "arrow_stream":
        total = sum(size for _, size in groups)
        unit = WorkUnit(
            index=0, source=source, start=0, stop=1, first_row=0, rows=rows, bytes=total, content_digest=digest
        )
        return schema, rows, (unit,)
    return schema, rows, tuple(group_units(source, digest, groups, unit_rows))


def read_arrow(unit: WorkUnit, names: list[str], limits: Limits) -> Iterator[pa.RecordBatch]:
    """The unit's record batches, not yet validated, with the named columns that the file has."""
    span = None if unit.source.format == "arrow_stream" else (unit.start, unit.stop)
    with _batches(unit.source, limits, span=span) as (raw, batches):
        there = [name for name in names if name in raw.names]
        for batch in batches:
            yield batch.select(there)


@contextmanager
def _batches(
    source: Source, limits: Limits, *, span: tuple[int, int] | None = None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with open_file(source.uri) as handle:
        try:
            if source.format == "arrow_stream":
                stream = pa.ipc.open_stream(handle)
                yield stream.schema, _streamed(stream, source, limits)
            else:
                _footer_within(handle, source, limits)
                reader = pa.ipc.open_file(handle)
                _num_batches_within(reader.num_record_batches, source, limits)
                first, last = span or (0, reader.num_record_batches)
                yield reader.schema, _ranged(reader, source, range(first, last), limits)
        except (OSError, pa.ArrowException) as error:
            raise damaged(source, error) from error


def _streamed(stream: Any, source: Source, limits: Limits) -> Iterator[pa.RecordBatch]:
    number = 0
    while True:
        try:
            batch = stream.read_next_batch()
        except StopIteration:
            return
        except (OSError, pa.ArrowException, MemoryError) as error:
            raise damaged(source, error, where=f"record batch {number}") from error
        number += 1
        _num_batches_within(number, source, limits)
        yield batch


def _ranged(reader: Any, source: Source, numbers: range, limits: Limits) -> Iterator[pa.RecordBatch]:
    for number in numbers:
        try:
            batch = reader.get_batch(number)
        except (OSError, pa.ArrowException, MemoryError) as error:
            raise damaged(source, error, where=f"record batch {number}") from error
        yield batch


def _num_batches_within(number: int, source: Source, limits: Limits) -> None:
    if number > limits.num_row_groups:
        raise InputError(
            f"more than {limits.num_row_groups} record batches; write it again with larger ones", file=source.uri
        )


def _footer_within(handle: Any, source: Source, limits: Limits) -> None:
    size = handle.size()
    handle.seek(max(0, size - 10))
    tail = handle.read(10)
    handle.seek(0)
    if size < 20 or tail[4:] != MAGIC or handle.read(6) != MAGIC:
        raise damaged(source, ValueError("the ARROW1 marks at its ends are not there"))
    handle.seek(0)
    length = int.from_bytes(tail[:4], "little", signed=True)
    if not 0 < length <= min(limits.footer_bytes, size - 20):
        raise InputError(
            f"a footer of {length} bytes (file {size} bytes, cap {limits.footer_bytes}): damaged; write it again",
            file=source.uri,
        )

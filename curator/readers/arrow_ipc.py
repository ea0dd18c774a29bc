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
from curator.readers.ipc_messages import Claim, claim_of, record_blocks
from curator.readers.limits import Limits
from curator.readers.opening import damaged, open_file
from curator.readers.unit import Source, WorkUnit, group_units

__all__ = ["read_arrow", "scan_arrow"]

MAGIC: Final = b"ARROW1"


def scan_arrow(
    source: Source, digest: str, unit_rows: int, limits: Limits
) -> tuple[pa.Schema, int, tuple[WorkUnit, ...]]:
    """Schema, rows and units, by the messages' headers alone: nothing is decompressed. Raises InputError."""
    with _batches(source, limits) as (raw, _):
        schema = normal_schema(raw, source.uri, limits)
    groups = list(_claims(source, limits))
    rows, size = sum(claim.rows for claim in groups), sum(claim.plain_bytes for claim in groups)
    if source.format == "arrow_stream" and rows:
        unit = WorkUnit(
            index=0, source=source, start=0, stop=1, first_row=0, rows=rows, bytes=size, content_digest=digest
        )
        return schema, rows, (unit,)
    return schema, rows, tuple(group_units(source, digest, groups, unit_rows))


def _claims(source: Source, limits: Limits) -> Iterator[Claim]:
    """What each record batch says of itself, dictionaries checked along with them. Raises InputError on a bomb."""
    number = 0
    for message in _messages(source, limits):
        try:
            claim = claim_of(message.metadata, message.body)
        except ValueError as error:
            raise damaged(source, error, where=f"record batch {number}") from error
        if claim is None:
            continue
        packed = max(message.body.size if message.body is not None else 0, 1)
        if claim.plain_bytes > limits.expansion_free_bytes and claim.plain_bytes > packed * limits.expansion:
            raise InputError(
                f"record batch {number} unpacks {packed} bytes to {claim.plain_bytes}: refused as a decompression bomb",
                file=source.uri,
            )
        if message.type == "record batch":
            number += 1
            _num_batches_within(number, source, limits)
            yield claim


def _messages(source: Source, limits: Limits) -> Iterator[Any]:
    """The file's dictionary and record batches as they are stored."""
    with open_file(source.uri) as handle:
        try:
            if source.format == "arrow_stream":
                yield from pa.ipc.MessageReader.open_stream(handle)
                return
            for block in record_blocks(_footer(handle, source, limits)):
                if not 0 < block.offset < source.size_bytes:
                    raise ValueError(f"its footer points to byte {block.offset}")
                handle.seek(block.offset)
                yield pa.ipc.read_message(handle)
        except (OSError, EOFError, pa.ArrowException, MemoryError, ValueError) as error:
            raise damaged(source, error) from error


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
                _footer(handle, source, limits)
                handle.seek(0)
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


def _footer(handle: Any, source: Source, limits: Limits) -> bytes:
    """The footer's bytes, once their number is believable."""
    size = handle.size()
    handle.seek(max(0, size - 10))
    tail = handle.read(10)
    handle.seek(0)
    if size < 20 or tail[4:] != MAGIC or handle.read(6) != MAGIC:
        raise damaged(source, ValueError("the ARROW1 marks at its ends are not there"))
    length = int.from_bytes(tail[:4], "little", signed=True)
    if not 0 < length <= min(limits.footer_bytes, size - 20):
        raise InputError(
            f"a footer of {length} bytes (file {size} bytes, cap {limits.footer_bytes}): damaged; write it again",
            file=source.uri,
        )
    handle.seek(size - 10 - length)
    return bytes(handle.read(length))

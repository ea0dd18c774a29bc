"""Parquet: scanned by its footer, read by ranges of row groups.

Knows nothing of other files of the set. The Arrow schema that writers hide in the footer's metadata is blanked before
Arrow sees it: types come from the Parquet schema alone and no extension type can be asked for (CVE-2026-41486 ran
code through one).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from curator.errors import InputError
from curator.readers.columns import normal_schema
from curator.readers.limits import Limits
from curator.readers.opening import damaged, open_file
from curator.readers.parquet_footer import FooterError, schema_shape
from curator.readers.unit import Source, WorkUnit, group_units

__all__ = ["read_parquet", "scan_parquet"]

MAGIC: Final = b"PAR1"
HIDDEN_SCHEMA: Final = b"ARROW:schema"
BLANK: Final = b"-not-arrow--"
"""Takes the key's place, byte for byte, so that the footer's lengths stay true."""
MAX_THRIFT_ITEMS: Final = 1_000_000


def scan_parquet(
    source: Source, digest: str, unit_rows: int, limits: Limits
) -> tuple[pa.Schema, int, tuple[WorkUnit, ...]]:
    """Schema, rows and units of about `unit_rows` rows; a row group is never split. Raises InputError."""
    with open_file(source.uri) as handle, _open(handle, source, limits) as file:
        metadata = file.metadata
        _within(metadata, source, limits)
        schema = normal_schema(file.schema_arrow, source.uri, limits)
        groups = [(metadata.row_group(index).num_rows, _bytes(metadata, index)) for index in range(file.num_row_groups)]
    if any(rows < 0 or size < 0 for rows, size in groups):
        raise damaged(source, ValueError("a row group has a negative size"))
    return schema, sum(rows for rows, _ in groups), tuple(group_units(source, digest, groups, unit_rows))


def read_parquet(unit: WorkUnit, names: list[str], batch_rows: int, limits: Limits) -> Iterator[pa.RecordBatch]:
    """The unit's rows, row group after row group, page by page; batches shrink when rows are wide.

    A row group may be of any size; its pages are unpacked whole (`read` tells what that takes).
    """
    source = unit.source
    rows = max(1, min(batch_rows, limits.batch_bytes // max(1, unit.bytes // max(1, unit.rows))))
    with open_file(source.uri) as handle, _open(handle, source, limits) as file:
        there = [name for name in names if name in file.schema_arrow.names]
        for group in range(unit.start, unit.stop):
            batches = file.iter_batches(batch_size=rows, row_groups=[group], columns=there, use_threads=False)
            yield from _guarded(batches, source, group)


def _guarded(batches: Iterator[pa.RecordBatch], source: Source, group: int) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (OSError, pa.ArrowException, MemoryError) as error:
            raise damaged(source, error, where=f"row group {group}") from error
        yield batch


def _open(handle: Any, source: Source, limits: Limits) -> pq.ParquetFile:
    """The file with its footer checked for size and blanked of hidden Arrow schemas."""
    size = handle.size()
    handle.seek(max(0, size - 8))
    tail = handle.read(8)
    handle.seek(0)
    if size < 12 or tail[4:] != MAGIC or handle.read(4) != MAGIC:
        raise damaged(source, ValueError("the PAR1 marks at its ends are not there"))
    length = int.from_bytes(tail[:4], "little")
    if length > limits.footer_bytes or length > size - 12:
        raise InputError(
            f"a footer of {length} bytes (file {size} bytes, cap {limits.footer_bytes}): damaged, or written with far "
            "too many row groups; write it again with larger ones",
            file=source.uri,
        )
    handle.seek(size - 8 - length)
    footer = handle.read(length)
    try:
        schema_shape(footer, 4 * limits.num_columns, 4 * limits.nesting_depth)
    except FooterError as error:
        raise damaged(source, error, where="the footer") from error
    alone = MAGIC + footer.replace(HIDDEN_SCHEMA, BLANK) + tail
    try:
        metadata = pq.ParquetFile(
            pa.BufferReader(alone),
            thrift_container_size_limit=MAX_THRIFT_ITEMS,
            thrift_string_size_limit=limits.footer_bytes,
            arrow_extensions_enabled=False,
        ).metadata
        return pq.ParquetFile(
            handle, metadata=metadata, pre_buffer=False, buffer_size=1 << 20, arrow_extensions_enabled=False
        )
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError) as error:
        raise damaged(source, error, where="the footer") from error


def _within(metadata: Any, source: Source, limits: Limits) -> None:
    if metadata.num_row_groups > limits.num_row_groups:
        raise InputError(
            f"{metadata.num_row_groups} row groups, more than the cap of {limits.num_row_groups}; write it again with "
            "larger ones",
            file=source.uri,
        )
    # Column chunks are not asked one by one: pyarrow ends the process on some damaged ones instead of raising.
    plain = sum(_bytes(metadata, group) for group in range(metadata.num_row_groups))
    if plain > limits.expansion_free_bytes and plain > source.size_bytes * limits.expansion:
        raise InputError(
            f"unpacks to {plain} bytes from {source.size_bytes}: refused as a decompression bomb", file=source.uri
        )


def _bytes(metadata: Any, group: int) -> int:
    return int(metadata.row_group(group).total_byte_size)

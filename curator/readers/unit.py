"""Sources, work units and plans: the values that say what is read, and by whom.

Knows nothing of how any format is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Compression", "Format", "InputPlan", "Rows", "Source", "SourceInfo", "WorkUnit", "group_units"]

Format = Literal["parquet", "jsonl", "csv", "arrow", "arrow_stream", "webdataset"]
Compression = Literal["none", "gzip", "zstd"]


class Source(BaseModel):
    """One file to read: where it is, what its name says it holds, how large it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(description="absolute path or object-store URL")
    format: Format
    compression: Compression = "none"
    size_bytes: int = Field(gt=0, description="size of the file as stored")
    modified_ns: int | None = Field(None, description="when a local file was last written, in ns since the epoch")


class WorkUnit(BaseModel):
    """A part of one file that is read as a whole by one worker.

    `start` and `stop` count row groups (parquet), record batches (arrow) or bytes (plain jsonl); for formats read
    only from the front (csv, compressed jsonl, arrow_stream, webdataset) they are 0 and 1. Boundaries depend on the
    file and `unit_rows` alone, never on workers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=0, description="place of the unit in the plan, in input order")
    source: Source
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    first_row: int = Field(ge=0, description="row number, within the file, of the unit's first row")
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0, description="estimate of the unit's uncompressed bytes")
    content_digest: str = Field(pattern=r"^[0-9a-f]{32}$", description="xxh3-128 of the file's bytes")


class SourceInfo(NamedTuple):
    """What a scan of one file found; `digest` is xxh3-128 of its bytes. Units are numbered from 0 within the file."""

    source: Source
    schema: pa.Schema
    rows: int
    digest: str
    units: tuple[WorkUnit, ...]


class InputPlan(NamedTuple):
    """All files of a run under one schema. Units are numbered from 0 over the whole set, in input order.

    set_aside: columns that an earlier run of Winnow wrote; they are no part of the schema.
    """

    sources: tuple[SourceInfo, ...]
    schema: pa.Schema
    units: tuple[WorkUnit, ...]
    rows: int
    set_aside: tuple[str, ...] = ()


class Rows(NamedTuple):
    """Consecutive rows of one file; `first_row` is the row number, within the file, of the first of them."""

    first_row: int
    batch: pa.RecordBatch


def group_units(source: Source, digest: str, groups: Sequence[tuple[int, int]], unit_rows: int) -> Iterator[WorkUnit]:
    """Ranges of row groups or record batches, closed as soon as they hold `unit_rows` rows.

    groups: (rows, uncompressed bytes) of each, in file order.
    """
    start = rows = size = first_row = index = 0
    for stop, (group_rows, group_bytes) in enumerate(groups, start=1):
        rows, size = rows + group_rows, size + group_bytes
        if rows >= unit_rows or (stop == len(groups) and rows):
            yield WorkUnit(
                index=index, source=source, start=start, stop=stop, first_row=first_row, rows=rows, bytes=size,
                content_digest=digest,
            )  # fmt: skip
            start, first_row, rows, size, index = stop, first_row + rows, 0, 0, index + 1

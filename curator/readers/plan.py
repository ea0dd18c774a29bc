"""Scanning and reading, whatever the format: one file to its units, many files to one plan, one unit to its rows.

Knows nothing of how a format is read, of filters, or of what the rows are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from curator.errors import InputError
from curator.readers.arrow_ipc import read_arrow, scan_arrow
from curator.readers.columns import checked, conform, pieces, select, widest
from curator.readers.csv_text import read_csv, scan_csv
from curator.readers.image_bytes import bare_bytes
from curator.readers.jsonl import read_jsonl, scan_jsonl
from curator.readers.limits import LIMITS, Limits
from curator.readers.opening import content_digest, damaged, same_file
from curator.readers.parquet import read_parquet, scan_parquet
from curator.readers.unit import InputPlan, Rows, Source, SourceInfo, WorkUnit
from curator.readers.webdataset import read_webdataset, scan_webdataset
from curator.readers.written import SAMPLE_ID, WRITTEN, by_winnow, holds_sample_ids

__all__ = ["plan_inputs", "read", "scan", "unify"]

SCANS = {
    "parquet": scan_parquet,
    "jsonl": scan_jsonl,
    "csv": scan_csv,
    "arrow": scan_arrow,
    "arrow_stream": scan_arrow,
    "webdataset": scan_webdataset,
}


def scan(source: Source, *, unit_rows: int, limits: Limits = LIMITS) -> SourceInfo:
    """Schema, rows, content digest and work units of one file; reads all of its bytes once or twice.

    unit_rows: about how many rows a unit should hold. Row groups and record batches are never split; compressed
    JSONL, CSV, Arrow streams and WebDataset tars are one unit. Raises InputError naming the file and, where known,
    the row.
    """
    if unit_rows < 1:
        raise ValueError(f"unit_rows is {unit_rows}; it must be at least 1")
    digest = content_digest(source)
    try:
        schema, rows, units = SCANS[source.format](source, digest, unit_rows, limits)
    except UnicodeDecodeError as error:
        raise damaged(source, error, where="a name in its schema") from error
    return SourceInfo(source, schema, rows, digest, units)


def plan_inputs(sources: Sequence[Source], *, unit_rows: int, limits: Limits = LIMITS) -> InputPlan:
    """All files under one schema, units numbered over the whole set. Raises InputError.

    A Parquet or Arrow file may hold columns and no rows, as writers leave it for an empty part, where another holds
    some. Refuses files whose bytes are the same: every row of the one would repeat a row of the other.
    Columns that an earlier run of Winnow wrote are set aside: the schema is without them.
    """
    infos = tuple(scan(source, unit_rows=unit_rows, limits=limits) for source in sources)
    if not any(info.rows for info in infos):
        raise InputError("has columns but no rows; name a file with rows", file=infos[0].source.uri)
    first: dict[str, str] = {}
    for info in (info for info in infos if info.rows):
        twin = first.setdefault(info.digest, info.source.uri)
        if twin != info.source.uri:
            raise InputError(f"a byte-for-byte copy of {twin}; leave one of them out", file=info.source.uri)
    units = (unit for info in infos for unit in info.units)
    numbered = tuple(unit.model_copy(update={"index": index}) for index, unit in enumerate(units))
    schema = unify(infos)
    own = _by_winnow(infos, schema, limits)
    kept = pa.schema([field for field in schema if field.name not in own])
    return InputPlan(infos, kept, numbered, sum(info.rows for info in infos), own)


def _by_winnow(infos: Sequence[SourceInfo], schema: pa.Schema, limits: Limits) -> tuple[str, ...]:
    """The columns that an earlier run wrote, going by the first rows of each file. One may not be all there is."""
    if SAMPLE_ID not in schema.names or set(schema.names) <= set(WRITTEN):
        return ()
    for info in infos:
        if info.rows and SAMPLE_ID in info.schema.names:
            first = next(read(info.units[0], schema=info.schema, columns=[SAMPLE_ID], limits=limits))
            if not holds_sample_ids(first.batch.column(0).to_pylist()):
                return ()
    return by_winnow(schema)


def unify(infos: Sequence[SourceInfo]) -> pa.Schema:
    """The one schema of a set of files: columns in the order first met, types widened where no meaning is lost.

    A field that a JSONL or WebDataset file lacks is null there; a column that a Parquet, CSV or Arrow file lacks is an
    error, and so are types that do not go together. Raises InputError naming both files.
    """
    kinds: dict[str, pa.DataType] = {}
    seen_in: dict[str, str] = {}
    for info in infos:
        for field in info.schema:
            kind = widest(kinds.get(field.name, pa.null()), field.type)
            if kind is None:
                raise InputError(
                    f"is {field.type} here and {kinds[field.name]} in {seen_in[field.name]}; give the column one "
                    "type in all files",
                    file=info.source.uri,
                    column=field.name,
                )
            kinds[field.name] = kind
            seen_in.setdefault(field.name, info.source.uri)
    for info in infos:
        lacking = [name for name in kinds if name not in info.schema.names]
        if lacking and info.source.format not in ("jsonl", "webdataset"):
            raise InputError(
                f"has no such column, but {seen_in[lacking[0]]} has; give all files the same columns",
                file=info.source.uri,
                column=lacking[0],
            )
    return pa.schema(list(kinds.items()))


def read(
    unit: WorkUnit,
    *,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    batch_rows: int = 4096,
    limits: Limits = LIMITS,
) -> Iterator[Rows]:
    """The unit's rows in order, as pairs (row number in the file of the first row, RecordBatch).

    schema: of the whole input (`InputPlan.schema`); every batch has exactly these columns and types, or those of
    `columns` in the order named; a column {bytes, path} is its bytes where the schema says so (`as_bytes`). A batch
    holds 1 to `batch_rows` rows, fewer when rows are wide: about
    `limits.batch_bytes`, or one row that is larger. Memory stays bounded by a few times that and by what a format packs
    as one piece, which is held whole: a record batch of Arrow; of Parquet a page, up to 2.5 times with a column's
    dictionary, but not the row group. Pages are small unless rows are wide: pyarrow puts up to 1,024 values into one,
    whatever their size, for which its `write_batch_size` is the remedy. Raises InputError naming file, row and column.
    """
    uri = unit.source.uri
    wanted = select(schema, columns, uri)
    same_file(unit.source, unit.content_digest)
    row = unit.first_row
    for raw in _raw(unit, wanted, batch_rows, limits):
        whole = checked(raw, uri, row, limits)
        bare = bare_bytes(whole, wanted)
        whole = whole if bare is whole else checked(bare, uri, row, limits)
        for piece in pieces(whole, batch_rows, limits.batch_bytes):
            yield Rows(row, conform(piece, wanted, uri, row))
            row += piece.num_rows
    if row != unit.first_row + unit.rows:
        raise InputError(
            f"{row - unit.first_row} rows read where {unit.rows} were counted when the run was planned: the file was "
            "changed in between; start a new run",
            file=uri,
            row=unit.first_row,
        )


def _raw(unit: WorkUnit, wanted: pa.Schema, batch_rows: int, limits: Limits) -> Iterator[pa.RecordBatch]:
    match unit.source.format:
        case "parquet":
            return read_parquet(unit, wanted.names, batch_rows, limits)
        case "jsonl":
            return read_jsonl(unit, wanted, limits)
        case "csv":
            return read_csv(unit, wanted, limits)
        case "webdataset":
            return read_webdataset(unit, wanted, batch_rows, limits)
        case _:
            return read_arrow(unit, wanted.names, limits)

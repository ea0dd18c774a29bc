"""CSV with a header line: scanned once to learn types and rows, read from the front as one unit.

Knows nothing of other files of the set. A column is bool, int64 or double only if every value in it is; anything else,
numbers with leading zeros and dates too, stays text. An empty cell is null, a quoted empty cell is an empty text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from curator.errors import InputError
from curator.readers.columns import first_failing, normal_schema
from curator.readers.limits import Limits
from curator.readers.opening import CappedStream, damaged, open_text
from curator.readers.unit import Source, WorkUnit

__all__ = ["read_csv", "scan_csv"]

PATTERNS: Final = {"bool": r"^(true|false|True|False|TRUE|FALSE)$", "int64": r"^-?(0|[1-9][0-9]{0,18})$"}
WHOLE: Final = "(0|[1-9][0-9]*)"
NUMBER: Final = (
    rf"^[+-]?((0|[1-9][0-9]{{0,14}})|({WHOLE}\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|{WHOLE}[eE][+-]?[0-9]+)$"
    r"|^[+-]?(nan|NaN|NAN|inf|Inf|INF)$"
)
"""A double. Whole numbers of 16 digits and more are none: rounded, two ids could become one."""
WRONG_CELLS: Final = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
TYPES: Final = (("bool", pa.bool_()), ("int64", pa.int64()), ("double", pa.float64()))
"""Types tried in this order; a column that fits none is text."""


def scan_csv(
    source: Source, digest: str, unit_rows: int, limits: Limits
) -> tuple[pa.Schema, int, tuple[WorkUnit, ...]]:
    """Schema, rows and the one unit. Raises InputError naming the row."""
    fits: dict[str, list[pa.DataType]] = {}
    filled: set[str] = set()
    rows = 0
    with _text_batches(source, limits) as (names, batches, stream):
        normal_schema(pa.schema([(name, pa.string()) for name in names]), source.uri, limits)
        fits = {name: [kind for _, kind in TYPES] for name in names}
        for batch in batches:
            for name, column in zip(names, batch.columns, strict=True):
                column = _utf8(column, name, source, rows)
                filled |= {name} if column.null_count < len(column) else set()
                fits[name] = [kind for kind in fits[name] if _all_fit(column, kind)]
            rows += batch.num_rows
        size = stream.given_bytes
    if not rows:
        raise InputError("has a header but no rows; leave it out", file=source.uri)
    fields = [(name, (fits[name] or [pa.string()])[0] if name in filled else pa.null()) for name in names]
    unit = WorkUnit(index=0, source=source, start=0, stop=1, first_row=0, rows=rows, bytes=size, content_digest=digest)
    return pa.schema(fields), rows, (unit,)


def read_csv(unit: WorkUnit, schema: pa.Schema, limits: Limits) -> Iterator[pa.RecordBatch]:
    """The file's rows with the schema's types. Raises InputError naming the row."""
    row = 0
    with _text_batches(unit.source, limits) as (names, batches, _):
        for batch in batches:
            columns = {
                name: _typed(_utf8(batch.column(names.index(name)), name, unit.source, row), schema.field(name).type)
                for name in schema.names
                if name in names
            }
            yield pa.RecordBatch.from_pydict(columns) if columns else batch.select([])
            row += batch.num_rows


def _all_fit(column: pa.Array, kind: pa.DataType) -> bool:
    if column.null_count == len(column):
        return True
    pattern = NUMBER if pa.types.is_floating(kind) else PATTERNS[str(kind)]
    if not pc.all(pc.match_substring_regex(column, pattern)).as_py():
        return False
    try:
        _typed(column, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(column))
    return column if pa.types.is_string(kind) else column.cast(kind)


def _utf8(column: pa.Array, name: str, source: Source, first_row: int) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid as error:
        row = first_row + first_failing(column, lambda part: part.cast(pa.string()))
        raise InputError(
            "text that is not valid UTF-8; repair or remove the row, or convert the file",
            file=source.uri,
            row=row,
            column=name,
        ) from error


@contextmanager
def _text_batches(source: Source, limits: Limits) -> Iterator[tuple[list[str], Iterator[pa.RecordBatch], Any]]:
    """Column names, batches of binary cells, and the byte stream under them."""
    names = _names(source, limits)
    with open_text(source, limits) as stream:
        try:
            reader = _open(stream, {name: pa.binary() for name in names}, limits)
        except pa.ArrowException as error:
            raise _refused(error, source, 0, limits) from error
        yield names, _guarded(reader, stream, source, limits), stream


def _names(source: Source, limits: Limits) -> list[str]:
    """The header's cells."""
    with open_text(source, limits) as stream:
        if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InputError("text in UTF-16, not UTF-8; convert the file", file=source.uri)
    with open_text(source, limits) as stream:
        try:
            return list(_open(stream, {}, limits).schema.names)
        except pa.ArrowException as error:
            raise _refused(error, source, 0, limits) from error
        except UnicodeDecodeError as error:
            raise InputError("a header that is not valid UTF-8; convert the file", file=source.uri) from error


def _open(stream: Any, types: dict[str, pa.DataType], limits: Limits) -> Any:
    # No invalid_row_handler: it cannot be given rows that are not UTF-8. The message says what it would.
    return pcsv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=pcsv.ReadOptions(use_threads=False, block_size=limits.line_bytes),
        parse_options=pcsv.ParseOptions(newlines_in_values=True),
        convert_options=pcsv.ConvertOptions(
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        ),
    )


def _guarded(reader: Any, stream: CappedStream, source: Source, limits: Limits) -> Iterator[pa.RecordBatch]:
    row, last = 0, None
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            _last_quote_closes(last, stream, source, row)
            return
        except pa.ArrowException as error:
            raise _refused(error, source, row, limits) from error
        row += batch.num_rows
        last = batch.slice(batch.num_rows - 1) if batch.num_rows else last
        yield batch


def _last_quote_closes(last: pa.RecordBatch | None, stream: CappedStream, source: Source, num_rows: int) -> None:
    """Refuses a file whose last quote never closes: the parser takes all that follows it for one cell.

    A cell that holds a line end was quoted, so a file that ends in one ends in a quote.
    """
    cell = None if last is None else last.column(last.num_columns - 1)[0].as_py()
    if cell is not None and b"\n" in cell and not stream.tail.rstrip(b"\r\n").endswith(b'"'):
        raise InputError(
            "its last cell opens a quote that never closes, and everything after it became one cell; mend the row",
            file=source.uri,
            row=num_rows - 1,
        )


def _refused(error: Exception, source: Source, row: int, limits: Limits) -> InputError:
    told = WRONG_CELLS.search(str(error))
    if told:
        number, expected, actual = map(int, told.groups())
        return InputError(
            f"{actual} cells, but the header names {expected}; quote cells that hold commas or line ends, or mend "
            "the row",
            file=source.uri,
            row=number - 2,  # Arrow counts from 1, and the header
        )
    if "straddl" in str(error):
        return InputError(
            f"a row of more than {limits.line_bytes} bytes, or a quote that never ends; mend the row",
            file=source.uri,
            row=row,
        )
    return damaged(source, error, where=f"after row {row} it")

"""JSONL: one object a line; scanned once to learn types, rows and line ends, read by byte ranges.

Knows nothing of other files of the set. A row is a line that is not blank. Types are inferred from every line, so a
field that turns up late or a number that turns into text is found before a run starts. Text stays text: nothing is
guessed to be a time.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.types as pt

from curator.errors import InputError
from curator.readers.columns import columns_within, normal_schema, widest
from curator.readers.limits import Limits
from curator.readers.line_blocks import Block, LineBlocks, check_block, filled_lines, row_ends
from curator.readers.opening import damaged
from curator.readers.unit import Source, WorkUnit

__all__ = ["read_jsonl", "scan_jsonl"]

EXACT_DOUBLE: Final = 2.0**53
_ROW = re.compile(r"in row (\d+)")
_COLUMN = re.compile(r"Column\(/?([^/)]*)")


def scan_jsonl(
    source: Source, digest: str, unit_rows: int, limits: Limits
) -> tuple[pa.Schema, int, tuple[WorkUnit, ...]]:
    """Schema, rows and units; one unit if the file is compressed. Raises InputError naming the row."""
    kind: pa.DataType = pa.struct([])
    cuts, offset, rows = [(0, 0)], 0, 0
    blocks = LineBlocks(source, 0, None, 0, limits)
    for block in blocks.narrow():
        table = _parse(block, source, None, limits)
        kind = _merged(kind, table, block, source, limits)
        _exact_integers(table, block, source)
        ends = row_ends(block, table.num_rows, source)
        for row in range(-block.first_row % unit_rows or unit_rows, len(ends) + 1, unit_rows):
            cuts.append((block.offset + int(ends[row - 1]), block.first_row + row))
        blocks.row = rows = block.first_row + table.num_rows
        offset = block.offset + len(block.data)
    if not rows:
        raise InputError("has no rows, only blank lines; leave it out", file=source.uri)
    schema = normal_schema(pa.schema(list(kind)), source.uri, limits)
    if source.compression != "none":
        cuts = [(0, 0)]
    if cuts[-1][1] < rows:
        cuts.append((offset, rows))
    return schema, rows, tuple(_units(source, digest, cuts))


def _units(source: Source, digest: str, cuts: list[tuple[int, int]]) -> Iterator[WorkUnit]:
    """Units between cuts of (byte offset, row number)."""
    packed = source.compression != "none"
    for index, ((start, first_row), (stop, next_row)) in enumerate(itertools.pairwise(cuts)):
        yield WorkUnit(
            index=index, source=source, start=0 if packed else start, stop=1 if packed else stop, first_row=first_row,
            rows=next_row - first_row, bytes=stop - start, content_digest=digest,
        )  # fmt: skip


def read_jsonl(unit: WorkUnit, schema: pa.Schema, limits: Limits) -> Iterator[pa.RecordBatch]:
    """The unit's rows with the schema's types, a few MiB of lines at a time. Raises InputError naming the row."""
    packed = unit.source.compression != "none"
    start, stop = (0, None) if packed else (unit.start, unit.stop)
    blocks = LineBlocks(unit.source, start, stop, unit.first_row, limits)
    for block in blocks:
        table = _parse(block, unit.source, schema, limits)
        blocks.row += table.num_rows
        yield from table.select(schema.names).to_batches()


def _parse(block: Block, source: Source, schema: pa.Schema | None, limits: Limits) -> pa.Table:
    """The block's rows as a table; all columns with inferred types, or the schema's with its types."""
    data = block.data
    check_block(block, source, limits)
    how = (
        {} if schema is None or not len(schema) else {"explicit_schema": schema, "unexpected_field_behavior": "ignore"}
    )
    if not data.strip():
        return pa.table({}) if schema is None else schema.empty_table()
    try:
        return pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pj.ParseOptions(newlines_in_values=False, **how),
        )
    except pa.ArrowException as error:
        raise _located(error, block, source) from error


def _located(error: Exception, block: Block, source: Source) -> InputError:
    text = str(error)
    row, column = _ROW.search(text), _COLUMN.search(text)
    number = block.first_row + int(row.group(1)) if row else block.first_row
    if column and column.group(1):
        cure = (
            "write each key of an object once"
            if "twice" in text
            else "one column has one type: mend the row, or quote the value in every row"
        )
        return InputError(f"{text.split(' in row ')[0]}; {cure}", file=source.uri, row=number, column=column.group(1))
    if column:
        return InputError(
            f"a line that is not a JSON object ({text}); JSONL has one object a line", file=source.uri, row=number
        )
    return damaged(source, error, where="the line", row=number)


def _merged(kind: pa.DataType, table: pa.Table, block: Block, source: Source, limits: Limits) -> pa.DataType:
    """The file's struct of columns so far, widened by a block's."""
    if not table.num_columns:
        return kind
    here = pa.struct(list(normal_schema(table.schema, source.uri, limits, text_times=True)))
    merged = widest(kind, here)
    if merged is not None:
        columns_within(merged.num_fields, source.uri, limits)
        return merged
    column = next(
        field.name
        for field in here
        if kind.get_field_index(field.name) >= 0 and widest(kind.field(field.name).type, field.type) is None
    )
    before = kind.field(column).type
    row = _first_conflict(block, source, column, before, limits)
    raise InputError(
        f"its values were {before} up to here and are {here.field(column).type} now; one column has one type: mend "
        "the row, or quote the value in every row",
        file=source.uri,
        row=row,
        column=column,
    )


def _first_conflict(block: Block, source: Source, column: str, before: pa.DataType, limits: Limits) -> int:
    """The row of the first line of a block whose value of `column` does not go with the type before; by halving."""
    lines = filled_lines(block.data)
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        part = _parse(Block(b"\n".join(lines[:middle]), block.offset, block.first_row), source, None, limits)
        schema = normal_schema(part.schema, source.uri, limits, text_times=True)
        fits = column not in schema.names or widest(before, schema.field(column).type) is not None
        low, high = (middle, high) if fits else (low, middle)
    return block.first_row + low


def _exact_integers(table: pa.Table, block: Block, source: Source) -> None:
    """Refuses integers past 64 bits, or past 2^53 among floats: as doubles two different ids could become one."""
    suspects = [name for name in table.column_names if _has_large_double(table.column(name).combine_chunks())]
    if not suspects:
        return
    for row, line in enumerate(filled_lines(block.data)):
        if re.search(rb"\d{16}", line) is None:
            continue
        value = json.loads(line)
        for name in suspects:
            if _has_large_integer(value.get(name)):
                raise InputError(
                    "an integer too large to be kept exactly beside fractions or in 64 bits; write it as a string",
                    file=source.uri,
                    row=block.first_row + row,
                    column=name,
                )


def _has_large_double(column: pa.Array) -> bool:
    kind = column.type
    if pt.is_floating(kind):
        return bool(pc.any(pc.greater_equal(pc.abs(column), EXACT_DOUBLE)).as_py())
    if pt.is_list(kind):
        return _has_large_double(column.values)
    if pt.is_struct(kind):
        return any(_has_large_double(column.field(index)) for index in range(kind.num_fields))
    return False


def _has_large_integer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_large_integer, value.values()))
    if isinstance(value, list):
        return any(map(_has_large_integer, value))
    return type(value) is int and abs(value) > int(EXACT_DOUBLE)

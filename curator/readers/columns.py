"""Column types: which are taken, how the types of many files become one, and batches brought to that one schema.

Knows nothing of files or formats. Text is always `string` and bytes always `binary`: a batch whose text would not
fit 32-bit offsets is split, so the type never depends on the data. Dictionary and run-end encodings are undone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curator.errors import InputError
from curator.readers.limits import Limits

__all__ = ["checked", "columns_within", "conform", "missing_column", "normal_schema", "pieces", "select", "widest"]


def normal_schema(schema: pa.Schema, file: str, limits: Limits, *, text_times: bool = False) -> pa.Schema:
    """The schema with plain types and without metadata. `text_times`: timestamps become strings.

    Raises InputError on extension types and unions, on repeated or empty names, and past the caps on leaf columns
    and nesting.
    """
    if not len(schema):
        raise InputError("has no columns; there is nothing to curate", file=file)
    columns_within(len(schema), file, limits)
    names = schema.names
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise InputError(f"column names are repeated: {', '.join(map(repr, repeated[:10]))}; rename them", file=file)
    fields = [pa.field(field.name, _normal(field, file, limits, text_times, 1)) for field in schema]
    columns_within(sum(_leaves(field.type) for field in fields), file, limits)
    return pa.schema(fields)


def columns_within(number: int, file: str, limits: Limits) -> None:
    """Raises InputError for more leaf columns than the cap."""
    if number > limits.num_columns:
        raise InputError(f"{number} leaf columns, more than the cap of {limits.num_columns}; select fewer", file=file)


def _normal(field: pa.Field, file: str, limits: Limits, text_times: bool, depth: int) -> pa.DataType:
    kind = field.type
    if depth > limits.nesting_depth:
        raise InputError(f"nested deeper than {limits.nesting_depth} levels; flatten it", file=file, column=field.name)
    if isinstance(kind, pa.BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {}):
        raise InputError(
            f"extension type {kind}: refused, since data is never code; store the plain type",
            file=file,
            column=field.name,
        )

    def inner(child: pa.Field) -> pa.DataType:
        return _normal(child, file, limits, text_times, depth + 1)

    if pt.is_union(kind):
        raise InputError("union types are not read; split it into columns", file=file, column=field.name)
    if pt.is_large_string(kind) or pt.is_string_view(kind) or (text_times and pt.is_timestamp(kind)):
        return pa.string()
    if pt.is_large_binary(kind) or pt.is_binary_view(kind):
        return pa.binary()
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return inner(pa.field(field.name, kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(child.name, inner(child)) for child in kind])
    if pt.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field))
    if pt.is_fixed_size_list(kind):
        return pa.list_(pa.field("item", inner(kind.value_field)), kind.list_size)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_list_view(kind) or pt.is_large_list_view(kind):
        return pa.list_(pa.field("item", inner(kind.value_field)))
    return kind


def _leaves(kind: pa.DataType) -> int:
    if not pt.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(index).type) for index in range(kind.num_fields)) or 1


def widest(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The one type that holds the values of both without loss of meaning, or None.

    Null gives way to anything, integers widen, integer and float become double, lists and structs field by field.
    Text and numbers never meet.
    """
    if one.equals(other) or pt.is_null(other):
        return one
    if pt.is_null(one):
        return other
    if pt.is_integer(one) and pt.is_integer(other):
        return _wider_integer(one, other)
    numbers = [pt.is_integer(kind) or pt.is_floating(kind) for kind in (one, other)]
    if all(numbers):
        return pa.float64()
    if pt.is_list(one) and pt.is_list(other):
        inner = widest(one.value_type, other.value_type)
        return pa.list_(pa.field("item", inner)) if inner is not None else None
    if pt.is_struct(one) and pt.is_struct(other):
        return _widest_struct(one, other)
    return None


def _wider_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if pt.is_unsigned_integer(one) == pt.is_unsigned_integer(other):
        return one if one.bit_width >= other.bit_width else other
    signed, unsigned = (one, other) if pt.is_signed_integer(one) else (other, one)
    if signed.bit_width > unsigned.bit_width:
        return signed
    return {8: pa.int16(), 16: pa.int32(), 32: pa.int64()}.get(unsigned.bit_width)


def _widest_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields: list[pa.Field] = []
    for field in one:
        index = other.get_field_index(field.name)
        kind = field.type if index < 0 else widest(field.type, other.field(index).type)
        if kind is None:
            return None
        fields.append(pa.field(field.name, kind))
    fields += [pa.field(field.name, field.type) for field in other if one.get_field_index(field.name) < 0]
    return pa.struct(fields)


def missing_column(name: str, there: Sequence[str], file: str) -> InputError:
    """The error for a column that a file does not have: lists those it has and the closest match."""
    close = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
    folded = [have for have in there if have.lower() == name.lower()]
    guess = (folded or close)[:1]
    hint = f"; did you mean {guess[0]!r}?" if guess else ""
    shown = ", ".join(map(repr, there[:50])) + (f" and {len(there) - 50} more" if len(there) > 50 else "")
    return InputError(f"no such column{hint} The file has: {shown}", file=file, column=name)


def select(schema: pa.Schema, columns: Sequence[str] | None, file: str) -> pa.Schema:
    """The schema of the named columns, in the order named; the whole of it for None. Raises InputError."""
    if columns is None:
        return schema
    for name in columns:
        if name not in schema.names:
            raise missing_column(name, schema.names, file)
    return pa.schema([schema.field(name) for name in columns])


def conform(batch: pa.RecordBatch, schema: pa.Schema, file: str, first_row: int) -> pa.RecordBatch:
    """The batch with exactly the schema's columns and types; a column it lacks is null in every row.

    Raises InputError naming file, row and column when a value does not fit the type.
    """
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        columns.append(_cast(batch.column(index), field, file, first_row))
    if not columns:
        return batch.select([])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, field: pa.Field, file: str, first_row: int) -> pa.Array:
    if column.type.equals(field.type):
        return column
    try:
        if pt.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pt.is_run_end_encoded(column.type):
            column = pc.run_end_decode(column)
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = first_failing(column, lambda part: part.cast(field.type))
        raise InputError(
            f"a value of type {column.type} does not fit the type {field.type} of the whole input: {error}",
            file=file,
            row=first_row + row,
            column=field.name,
        ) from error


def first_failing(column: pa.Array, attempt: object) -> int:
    """The first row on whose slice `attempt` raises an Arrow error, by halving; 0 if none does alone."""
    assert callable(attempt)
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(column.slice(low, middle - low))
            low = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
    return low


def checked(batch: pa.RecordBatch, file: str, first_row: int, limits: Limits) -> pa.RecordBatch:
    """The batch itself once its text is valid UTF-8, its offsets lie in its buffers and no cell passes the cap.

    Raises InputError naming file, row and column.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowIndexError) as error:
            raise _invalid(column, name, error, file, first_row) from error
        _cells_within(column, name, file, first_row, limits)
    return batch


def _invalid(column: pa.Array, name: str, error: BaseException, file: str, first_row: int) -> InputError:
    if "UTF8" not in str(error):
        return InputError(f"damaged values: {error}; write the file again", file=file, row=first_row, column=name)
    cure = "repair or remove the row, or store the column as binary"
    if pt.is_nested(column.type):  # a slice of it is validated with all its children: no row can be told
        return InputError(
            f"text that is not valid UTF-8 in one of the {len(column)} rows from here; {cure}",
            file=file,
            row=first_row,
            column=name,
        )
    row = first_failing(column, lambda part: part.validate(full=True))
    return InputError(
        f"text that is not valid UTF-8; {cure}",
        file=file,
        row=first_row + row,
        column=name,
    )


def _cells_within(column: pa.Array, name: str, file: str, first_row: int, limits: Limits) -> None:
    kind = column.type
    if not (pt.is_string(kind) or pt.is_binary(kind) or pt.is_large_string(kind) or pt.is_large_binary(kind)):
        return
    if column.nbytes <= limits.cell_bytes:
        return
    lengths = pc.binary_length(column)
    if (pc.max(lengths).as_py() or 0) > limits.cell_bytes:
        row = pc.index(pc.greater(lengths, limits.cell_bytes), True).as_py()
        size = lengths[row].as_py()
        raise InputError(
            f"a cell of {size} bytes, more than the cap of {limits.cell_bytes}; shorten or remove the row",
            file=file,
            row=first_row + row,
            column=name,
        )


def pieces(batch: pa.RecordBatch, batch_rows: int, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Zero-copy slices of at most `batch_rows` rows and, unless one row alone is larger, about `batch_bytes` bytes."""
    per_row = batch.nbytes // max(1, batch.num_rows) + sum(map(_longest_value, batch.columns))
    rows = max(1, min(batch_rows, batch_bytes // max(1, per_row)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _longest_value(column: pa.Array) -> int:
    """Bytes of a dictionary's longest text: once decoded, every row may hold it. 0 for other columns."""
    kind = column.type
    if not pt.is_dictionary(kind) or not len(column.dictionary):
        return 0
    values = column.dictionary
    if pt.is_string(values.type) or pt.is_binary(values.type) or pt.is_large_string(values.type):
        return int(pc.max(pc.binary_length(values)).as_py() or 0)
    return int(values.nbytes // len(values))

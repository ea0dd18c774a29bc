"""The one byte form of rows: equal rows give equal bytes, whatever batches, slices or encodings they came in.

Knows Arrow's layouts, nothing of files or verdicts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import InputError
from curator.shards.arrays import arrow_ints
from curator.shards.layout import SAMPLE_ID

__all__ = ["canonical_batch", "plain_schema", "plain_type"]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A shard's schema: plain types, no metadata, `sample_id` last. Raises InputError if that column is not there."""
    place = schema.get_field_index(SAMPLE_ID)
    if place < 0 or schema.field(place).type != pa.binary(16):
        found = schema.field(place).type if place >= 0 else "missing or repeated"
        raise InputError(
            f"rows need one column {SAMPLE_ID!r} of fixed_size_binary[16]; it is {found}", column=SAMPLE_ID
        )
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise InputError(f"columns {repeated} appear more than once; rename them", column=repeated[0])
    fields = [pa.field(f.name, plain_type(f.type)) for f in schema if f.name != SAMPLE_ID]
    return pa.schema([*fields, pa.field(SAMPLE_ID, pa.binary(16), nullable=False)])


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type without extensions, dictionaries, run-end encoding or views, also inside lists, structs and maps."""
    t = data_type
    if isinstance(t, pa.BaseExtensionType):
        return plain_type(t.storage_type)
    if pa.types.is_dictionary(t) or pa.types.is_run_end_encoded(t):
        return plain_type(t.value_type)
    if t == pa.string_view():
        return pa.string()
    if t == pa.binary_view():
        return pa.binary()
    if pa.types.is_struct(t):
        return pa.struct([pa.field(f.name, plain_type(f.type)) for f in t])
    if pa.types.is_map(t):
        return pa.map_(plain_type(t.key_type), plain_type(t.item_type))
    if pa.types.is_fixed_size_list(t):
        return pa.list_(plain_type(t.value_type), t.list_size)
    if pa.types.is_large_list(t) or pa.types.is_large_list_view(t):
        return pa.large_list(plain_type(t.value_type))
    if pa.types.is_list(t) or pa.types.is_list_view(t):
        return pa.list_(plain_type(t.value_type))
    return t


def canonical_batch(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """The rows of some batches as one, copied so that no slack, slice offset or hidden value is left.

    schema: from `plain_schema`. Raises InputError when the columns differ or 32-bit offsets overflow.
    """
    columns = [_canonical([_column(batch, field) for batch in batches], field) for field in schema]
    return pa.record_batch(columns, schema=schema)


def _column(batch: pa.RecordBatch, field: pa.Field) -> Any:
    place = batch.schema.get_field_index(field.name)
    if place < 0:
        raise InputError(
            f"a batch has no column {field.name!r}; its columns are {batch.schema.names}", column=field.name
        )
    return batch.column(place)


def _canonical(parts: list[Any], field: pa.Field) -> Any:
    try:
        plain = [_plain(part, field.type) for part in parts]
        joined = plain[0] if len(plain) == 1 else pa.concat_arrays(plain)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(
            f"values of {parts[0].type} do not become {field.type} in one record batch: {error}. "
            "Use large_string or large_binary for very long values, or a smaller batch_rows.",
            column=field.name,
        ) from error
    if not field.nullable and joined.null_count:
        raise InputError(f"{joined.null_count} nulls in a column that must have none", column=field.name)
    # take copies every value to a fresh place and writes zeros under nulls
    return pc.take(joined, arrow_ints(np.arange(len(joined), dtype=np.int32)), boundscheck=False)


def _plain(array: Any, target: pa.DataType) -> Any:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    return array if array.type == target else array.cast(target)

"""Image columns that hold {bytes, path}, as Hugging Face datasets store images: read as the bytes.

Knows one shape of column; nothing of images. A null `bytes` is no content, whatever `path` says: no file is opened by
a name that stands in data. Source: `Image.cast_storage` in huggingface/datasets, `features/image.py`.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

__all__ = ["IMAGE_STRUCT", "as_bytes", "bare_bytes"]

IMAGE_STRUCT: Final = "struct<bytes: binary, path: string>"


def as_bytes(schema: pa.Schema, column: str) -> pa.Schema:
    """The schema under which `column` is read as bytes, if it holds {bytes, path}; else the schema itself."""
    place = schema.get_field_index(column)
    if not _holds_image(schema.field(place).type):
        return schema
    return schema.set(place, pa.field(column, pa.binary()))


def bare_bytes(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """The batch with the bytes of {bytes, path} where bytes are wanted; itself if there is no such column."""
    for place, field in enumerate(batch.schema):
        if field.name in wanted.names and pt.is_binary(wanted.field(field.name).type) and _holds_image(field.type):
            batch = batch.set_column(place, field.name, pc.struct_field(batch.column(place), "bytes"))
    return batch


def _holds_image(kind: pa.DataType) -> bool:
    if not pt.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    data = kind.field("bytes").type
    return bool(pt.is_binary(data) or pt.is_large_binary(data) or pt.is_binary_view(data))

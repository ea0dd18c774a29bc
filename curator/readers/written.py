"""Columns of an input that an earlier run of Winnow wrote: set aside, since the next run writes its own.

Knows what exports and pulled epochs look like; nothing of recipes. A column is Winnow's if `sample_id` holds sample ids
(16 bytes, or 32 hex digits) in every file that has it, and its own type is one that Winnow writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.types as pt

__all__ = ["SAMPLE_ID", "WRITTEN", "by_winnow", "holds_sample_ids"]

SAMPLE_ID: Final = "sample_id"
WRITTEN: Final = (SAMPLE_ID, "label_before", "difficulty")
"""Names that rows get on their way through Winnow."""

_HEX: Final = re.compile("[0-9a-f]{32}")


def holds_sample_ids(values: Sequence[object]) -> bool:
    """Whether every value is a sample id or null."""
    return all(
        value is None
        or (isinstance(value, bytes) and len(value) == 16)
        or (isinstance(value, str) and _HEX.fullmatch(value) is not None)
        for value in values
    )


def by_winnow(schema: pa.Schema) -> tuple[str, ...]:
    """Those of `WRITTEN` that a schema has in a type Winnow writes, where its `sample_id` is known to be Winnow's."""
    return tuple(name for name in WRITTEN if name in schema.names and _as_written(name, schema.field(name).type))


def _as_written(name: str, kind: pa.DataType) -> bool:
    if pt.is_null(kind) or pt.is_string(kind):
        return True
    if name == SAMPLE_ID:
        return pt.is_binary(kind) or kind == pa.binary(16)
    return name == "label_before" and (pt.is_integer(kind) or pt.is_boolean(kind))

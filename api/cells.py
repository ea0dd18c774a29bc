"""Rows for people: any Arrow value as JSON, long texts cut and said to be cut, small pictures shown.

Knows Arrow's types; nothing of where rows come from.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.plain import plain

__all__ = ["Rows", "plain", "shown_row", "shown_rows"]

TEXT_CHARS: Final = 2000
IMAGE_BYTES: Final = 64 * 1024
_MAGIC: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


class Rows(BaseModel):
    """`cut`: for each row, the columns whose text is shown in part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]
    items: tuple[dict[str, Any], ...]
    cut: tuple[tuple[str, ...], ...]


def shown_rows(batches: Iterable[pa.RecordBatch]) -> Rows:
    """The rows of some batches of one schema."""
    held = list(batches)
    rows = [shown_row(row) for batch in held for row in batch.to_pylist()]
    return Rows(
        columns=tuple(held[0].schema.names) if held else (),
        items=tuple(row for row, _ in rows),
        cut=tuple(cut for _, cut in rows),
    )


def shown_row(row: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(the row as JSON values, the columns that were cut)."""
    cut = tuple(name for name, value in row.items() if isinstance(value, str) and len(value) > TEXT_CHARS)
    return {name: _shown(value[:TEXT_CHARS] if name in cut else value) for name, value in row.items()}, cut


def _shown(value: Any) -> Any:
    """As `plain`, but bytes other than a sample id are told by size, or shown if they are a small picture."""
    if not isinstance(value, bytes) or len(value) == 16:
        return plain(value)
    media_type = next((name for magic, name in _MAGIC if value.startswith(magic)), None)
    small = media_type is not None and len(value) <= IMAGE_BYTES
    return {
        "bytes": len(value),
        "media_type": media_type,
        "base64": base64.b64encode(value).decode() if small else None,
    }

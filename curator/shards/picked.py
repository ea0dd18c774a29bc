"""Rows picked from many record batches, put in any order with one copy of long values.

Knows Arrow's layouts; nothing of shards or epochs.

Strings and bytes are held as views (Arrow's string_view layout: length, then the bytes when there are at most 12, else
a buffer's number and an offset) into the batches they lie in; casting views back to strings is the one copy. Numbers
are gathered at once; what is neither is taken by Arrow, which copies twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curator.shards.arrays import arrow_ints

__all__ = ["Chosen", "Picked", "pick", "together"]

INLINE_BYTES = 12
_VIEWED = {pa.string(): pa.string_view(), pa.binary(): pa.binary_view()}


class Chosen(NamedTuple):
    """Some rows of one batch. group: int64[k], their places in the picked rows; rows: int64[k], in the batch."""

    batch: pa.RecordBatch
    group: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Views:
    """A column of strings or bytes. views: int32[m, 4]; valid: bool[m], None when all are. long: no view holds its
    value itself."""

    views: np.ndarray
    valid: np.ndarray | None
    buffers: list[Any]
    long: bool


Column = Any  # Views, or a pyarrow.Array


@dataclass(frozen=True)
class Picked:
    """m rows. columns hold them group after group as they were gathered, and perhaps others; place: int64[m], where in
    the columns each row lies."""

    schema: pa.Schema
    place: np.ndarray
    columns: list[Column]

    @property
    def num_rows(self) -> int:
        return len(self.place)

    def slice(self, first: int, count: int) -> Picked:
        """A run of the rows, without a copy."""
        return Picked(self.schema, self.place[first : first + count], self.columns)

    def take(self, index: np.ndarray) -> pa.RecordBatch:
        """Rows by their number among the m, in the order asked for. index: int64[k]."""
        return together([self], index)


def pick(schema: pa.Schema, num_rows: int, chosen: Sequence[Chosen]) -> Picked:
    """The rows of all groups, each at its place; the groups hold 0 to num_rows - 1 once."""
    columns = []
    for number, field in enumerate(schema):
        arrays = [part.batch.column(number) for part in chosen]
        if field.type in _VIEWED:
            columns.append(_views(arrays, chosen, num_rows))
        elif _plain(field.type) and not any(array.null_count for array in arrays):
            columns.append(_numbers(field.type, arrays, chosen, num_rows))
        else:
            parts = [array.take(arrow_ints(part.rows)) for array, part in zip(arrays, chosen, strict=True)]
            columns.append(pa.concat_arrays([pa.array([], field.type), *parts]))
    place = np.empty(num_rows, dtype=np.int64)
    if chosen:
        place[np.concatenate([part.group for part in chosen])] = np.arange(num_rows)
    return Picked(schema, place, columns)


def together(parts: Sequence[Picked], order: np.ndarray) -> pa.RecordBatch:
    """Rows of some pickings laid end to end, in the order given. order: int64[k]; raises IndexError outside."""
    if order.size and not 0 <= order.min() <= order.max() < sum(part.num_rows for part in parts):
        raise IndexError(f"rows {order.min()} to {order.max()} of {sum(part.num_rows for part in parts)}")
    schema, rows = parts[0].schema, arrow_ints(order)
    places = [arrow_ints(part.place) for part in parts]
    columns = []
    for number, field in enumerate(schema):
        pieces = [part.columns[number] for part in parts]
        if isinstance(pieces[0], Views):
            columns.append(_strings(_joined(pieces, [part.place for part in parts]), order, field.type))
        else:
            taken = [piece.take(place) for piece, place in zip(pieces, places, strict=True)]
            columns.append((taken[0] if len(taken) == 1 else pa.concat_arrays(taken)).take(rows))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(data_type: pa.DataType) -> bool:
    """Whether values are so many whole bytes each."""
    if pa.types.is_fixed_size_binary(data_type):
        return bool(data_type.byte_width)
    return bool(pa.types.is_primitive(data_type)) and not pa.types.is_boolean(data_type)


def _numbers(data_type: pa.DataType, arrays: list[Any], chosen: Sequence[Chosen], num_rows: int) -> Any:
    width = data_type.bit_width // 8
    kind = np.dtype(f"u{width}") if width in (1, 2, 4, 8) else np.dtype((np.void, width))
    out, first = np.empty(num_rows, dtype=kind), 0
    for array, part in zip(arrays, chosen, strict=True):
        data = np.frombuffer(array.buffers()[1], dtype=kind, count=len(array), offset=array.offset * width)
        end = first + len(part.rows)
        data.take(part.rows, out=out[first:end], mode="clip")
        first = end
    return pa.Array.from_buffers(data_type, num_rows, [None, pa.py_buffer(out.view(np.uint8))])


def _views(arrays: list[Any], chosen: Sequence[Chosen], num_rows: int) -> Views:
    views = np.zeros((num_rows, 4), dtype=np.int32)
    valid = np.ones(num_rows, dtype=bool) if any(array.null_count for array in arrays) else None
    buffers: list[Any] = []
    first, shortest = 0, INLINE_BYTES + 1
    for array, part in zip(arrays, chosen, strict=True):
        _, ends, data = array.buffers()
        edges = np.frombuffer(ends, dtype=np.int32, count=len(array) + 1, offset=4 * array.offset)
        starts = edges.take(part.rows)
        lengths = edges[1:].take(part.rows) - starts
        mine = views[first : first + len(part.rows)]
        mine[:, 0], mine[:, 2], mine[:, 3] = lengths, len(buffers), starts
        if valid is not None and array.null_count:
            there = _validity(array)[part.rows]
            valid[first : first + len(part.rows)] = there
            mine[~there] = 0
        least = int(lengths.min(initial=shortest)) if valid is None else 0
        if least <= INLINE_BYTES:
            _inline(mine, data)
        shortest = min(shortest, least)
        first += len(part.rows)
        buffers.append(data if data is not None else pa.py_buffer(b""))
    return Views(views, valid, buffers, shortest > INLINE_BYTES)


def _validity(array: Any) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], dtype=np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool)


def _inline(views: np.ndarray, data: Any) -> None:
    """Writes values of at most 12 bytes into their views."""
    short = np.flatnonzero(views[:, 0] <= INLINE_BYTES)
    if not short.size:
        return
    length, start = views[short, 0], views[short, 3]
    text = np.zeros((len(short), INLINE_BYTES), dtype=np.uint8)
    if data is not None and data.size:
        place = np.minimum(start[:, None] + np.arange(INLINE_BYTES), data.size - 1)
        text = np.frombuffer(data, dtype=np.uint8)[place]
        text[np.arange(INLINE_BYTES) >= length[:, None]] = 0
    views[short, 1:] = text.view(np.int32)


def _joined(pieces: list[Views], places: list[np.ndarray]) -> Views:
    """The chosen rows of the pieces laid end to end."""
    taken = [piece.views.take(place, axis=0) for piece, place in zip(pieces, places, strict=True)]
    buffers = list(pieces[0].buffers)
    for piece, views in zip(pieces[1:], taken[1:], strict=True):
        if piece.long:
            views[:, 2] += len(buffers)
        else:
            views[views[:, 0] > INLINE_BYTES, 2] += len(buffers)
        buffers += piece.buffers
    valid = None
    if any(piece.valid is not None for piece in pieces):
        both = zip(pieces, places, strict=True)
        valid = np.concatenate([np.ones(len(p), dtype=bool) if c.valid is None else c.valid[p] for c, p in both])
    views = taken[0] if len(taken) == 1 else np.concatenate(taken)
    return Views(views, valid, buffers, all(piece.long for piece in pieces))


def _strings(column: Views, order: np.ndarray, data_type: pa.DataType) -> Any:
    """The values in order, copied together."""
    views = column.views.take(order, axis=0)
    bits = None
    if column.valid is not None:
        bits = pa.py_buffer(np.packbits(column.valid[order], bitorder="little"))
    viewed = pa.Array.from_buffers(_VIEWED[data_type], len(order), [bits, pa.py_buffer(views), *column.buffers])
    return viewed.cast(data_type)

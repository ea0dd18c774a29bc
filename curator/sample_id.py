"""Sample ids: 16 bytes that name a row, the same whatever the engine, the unit size or the worker.

Knows nothing of files or ledgers. An id is the xxh3-128 digest (big-endian, as xxhash writes it) of a tag and bytes:

    b"i" + 8 bytes two's complement, little-endian + 1 byte sign      an integer id; the width of its type is nothing
    b"s" + UTF-8                                                      a text id
    b"b" + the bytes                                                  a binary id
    b"p" + 16 bytes content digest + 8 bytes row number, little-endian    no id column: place in a file's content

The tag keeps 7, "7" and b"7" apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curator.errors import InputError

__all__ = ["SAMPLE_ID", "check_unique", "from_ids", "from_position", "to_hex"]

SAMPLE_ID: Final = pa.binary(16)
BYTES_PER_ID: Final = 64
"""Working memory of one id in a pass of check_unique: three 8-byte columns, their copies for sorting, a mask."""
DEFAULT_MEMORY_BYTES: Final = 1 << 30
NUM_SHOWN: Final = 10


def from_ids(ids: pa.Array, *, first_row: int = 0) -> pa.FixedSizeBinaryArray:
    """Sample ids of user ids: integers of any width, text or bytes, dictionary-encoded or not; n values to n ids.

    Raises InputError for a null, naming its row (counted from `first_row`), and for a type that makes no id.
    """
    if pt.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if ids.null_count:
        row = first_row + pc.index(pc.is_null(ids), True).as_py()
        raise InputError("the id is null, so the row has no name; give every row an id", row=row)
    kind = ids.type
    if pt.is_integer(kind):
        return _joined(_integers(np.asarray(ids)))
    if pt.is_string(kind) or pt.is_large_string(kind):
        return _joined(b"s" + text for text in ids.cast(pa.large_binary()).to_pylist())
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return _joined(b"b" + value for value in ids.to_pylist())
    raise InputError(f"ids of type {kind} do not name rows surely; use integers, text or bytes as the id column")


def from_position(content_digest: str, rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """Sample ids of rows without a user id. content_digest: 32 hex digits; rows: int64[n] row numbers in the file."""
    head = b"p" + bytes.fromhex(content_digest)
    if len(head) != 17:
        raise ValueError(f"content digest {content_digest!r} is not 32 hex digits")
    table = np.empty((len(rows), 25), np.uint8)
    table[:, :17] = np.frombuffer(head, np.uint8)
    table[:, 17:] = np.ascontiguousarray(rows, "<i8").view(np.uint8).reshape(-1, 8)
    return _joined(_records(table))


def _integers(values: np.ndarray) -> Iterable[bytes]:
    table = np.empty((len(values), 10), np.uint8)
    table[:, 0] = ord("i")
    wide = values.astype("<u8" if values.dtype.kind == "u" else "<i8")
    table[:, 1:9] = wide.view(np.uint8).reshape(-1, 8)
    table[:, 9] = np.where(values < 0, 255, 0)
    return _records(table)


def _records(table: np.ndarray) -> Iterable[bytes]:
    width, data = table.shape[1], table.tobytes()
    return (data[start : start + width] for start in range(0, len(data), width))


def _joined(records: Iterable[bytes]) -> pa.FixedSizeBinaryArray:
    from xxhash import xxh3_128_digest  # here, so that the base install, which makes no ids, can print them

    return _array(b"".join([xxh3_128_digest(record) for record in records]))


def _array(data: bytes) -> pa.FixedSizeBinaryArray:
    return pa.FixedSizeBinaryArray.from_buffers(SAMPLE_ID, len(data) // 16, [None, pa.py_buffer(data)])


def to_hex(ids: pa.Array) -> pa.StringArray:
    """32 lower-case hex digits for every id; null stays null."""
    return pa.array([None if value is None else value.hex() for value in ids.to_pylist()], pa.string())


def check_unique(
    ids_by_unit: Iterable[pa.Array],
    *,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    describe: Callable[[int, int], object] | None = None,
) -> None:
    """Raises InputError that counts the repeated rows and lists the first ten, if any sample id comes twice.

    ids_by_unit: fixed_size_binary(16) arrays; walked once per pass and once to count, so it must start anew on each
    iteration. Passes split the ids by their hash so that each needs at most about `memory_bytes`. describe(unit, row)
    gives the user's id at a place (unit counted from 0, row within its array) for the message; default: the hex.
    """
    total = sum(len(ids) for ids in ids_by_unit)
    num_passes = max(1, -(-total * BYTES_PER_ID // memory_bytes))
    places: list[int] = []
    num_repeated = 0
    for number in range(num_passes):
        found = _repeated(ids_by_unit, number, num_passes)
        num_repeated += len(found)
        places = sorted([*places, *found[:NUM_SHOWN].tolist()])[:NUM_SHOWN]
    if num_repeated:
        shown = ", ".join(_shown(ids_by_unit, places, describe))
        raise InputError(
            f"{num_repeated} rows repeat the id of an earlier row, so verdicts could not be told apart; first repeated "
            f"ids: {shown}. Remove the repeats, or leave the id column out of the recipe"
        )


def _repeated(ids_by_unit: Iterable[pa.Array], number: int, num_passes: int) -> np.ndarray:
    """int64, sorted: places (rows counted over all units) that repeat an earlier id, of one hash partition."""
    highs, lows, rows = [], [], []
    first = 0
    for ids in ids_by_unit:
        words = _words(ids)
        mine = np.flatnonzero(words[:, 1] % np.uint64(num_passes) == number)
        highs.append(words[mine, 0])
        lows.append(words[mine, 1])
        rows.append(mine + first)
        first += len(ids)
    high = np.concatenate(highs) if highs else np.empty(0, np.uint64)
    ordered = np.sort(high)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.empty(0, np.int64)
    suspects = np.isin(high, twice)
    high, low, place = high[suspects], np.concatenate(lows)[suspects], np.concatenate(rows)[suspects]
    order = np.lexsort((place, low, high))
    same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    return np.sort(place[order][1:][same])


def _words(ids: pa.Array) -> np.ndarray:
    """uint64[n, 2] view of the ids' bytes."""
    data = ids.buffers()[1]
    if data is None:
        return np.empty((0, 2), np.uint64)
    return np.frombuffer(data, np.uint64)[2 * ids.offset : 2 * (ids.offset + len(ids))].reshape(-1, 2)


def _shown(
    ids_by_unit: Iterable[pa.Array], places: list[int], describe: Callable[[int, int], object] | None
) -> Iterable[str]:
    first = 0
    for unit, ids in enumerate(ids_by_unit):
        for place in places:
            if first <= place < first + len(ids):
                row = place - first
                yield str(describe(unit, row)) if describe else f"{ids[row].as_py().hex()} (unit {unit}, row {row})"
        first += len(ids)

"""What the index keeps of a row to compare it by: its content hash and the set of its shingles. A file a unit.

    the rows' sets, one after another; their content hashes, 16 bytes each; where each set ends, 8 bytes each

Knows rows of a unit; nothing of keys, pairs or other units.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from curator.duplicates.edges import ALMOST_ONE
from curator.duplicates.shingles import overlap
from curator.errors import IntegrityError
from curator.signals.buffers import row_bytes
from curator.signals.text.bytescan import kernel
from curator.storage import Store

__all__ = ["Fingerprints", "fingerprints_writer", "read_fingerprints", "similarities"]

_TAIL: Final = 16 + 8
"""Bytes a row behind the sets."""
_APART: Final = 64 << 10
"""Sets that lie no further apart are read at once: of a store far away a short read takes as long as a long one."""


class Fingerprints(NamedTuple):
    """Of k rows: content hashes uint64[k, 2]; the set of row i is sets[begins[i]:ends[i]]."""

    contents: np.ndarray
    sets: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


@contextmanager
def fingerprints_writer(store: Store, name: str) -> Iterator[Callable[[np.ndarray, pa.LargeBinaryArray | None], None]]:
    """A function (content_hash uint64[n, 2], sets or None) that adds rows; the file is there on a clean exit."""
    contents, lengths = [np.empty((0, 2), np.uint64)], [np.empty(0, np.int64)]
    with store.writer(name) as sink:

        def add(content_hash: np.ndarray, sets: pa.LargeBinaryArray | None) -> None:
            contents.append(content_hash)
            lengths.append(np.zeros(len(content_hash), np.int64))
            if sets is not None:
                rows = row_bytes(sets)
                lengths[-1] = np.diff(rows.offsets)
                sink.write(rows.data[rows.offsets[0] : rows.offsets[-1]])

        yield add
        sink.write(np.ascontiguousarray(np.concatenate(contents), np.uint64))
        sink.write(np.cumsum(np.concatenate(lengths)))


def read_fingerprints(store: Store, name: str, num_rows: int, rows: np.ndarray) -> Fingerprints:
    """Of ascending rows int64[k] of a unit of num_rows. Raises IntegrityError for a file cut short."""
    with store.open_input(name) as source:
        tail = source.size() - num_rows * _TAIL
        raw = np.frombuffer(source.read_at(num_rows * _TAIL, tail), np.uint8) if tail >= 0 else np.empty(0, np.uint8)
        ends = np.append(np.int64(0), raw[16 * num_rows :].view(np.int64))
        if tail < 0 or ends[-1] != tail or (np.diff(ends) < 0).any():
            raise IntegrityError(
                f"{name} does not hold {num_rows} rows, each with its content hash and set of shingles: it was cut off "
                "or exchanged; start a new run"
            )
        begins, ends = ends[rows], ends[rows + 1]
        parts, moved, filled = [np.empty(0, np.uint8)], np.empty(len(rows), np.int64), 0
        breaks = np.flatnonzero(begins[1:] - ends[:-1] > _APART) + 1
        for span in np.split(np.arange(len(rows)), breaks) if len(rows) else ():
            low, high = int(begins[span[0]]), int(ends[span[-1]])
            parts.append(np.frombuffer(source.read_at(high - low, low), np.uint8))
            moved[span] = filled - low
            filled += high - low
        contents = raw[: 16 * num_rows].view(np.uint64).reshape(-1, 2)[rows]
        return Fingerprints(contents, np.concatenate(parts), begins + moved, ends + moved)


def similarities(a: Fingerprints, rows_a: np.ndarray, b: Fingerprints, rows_b: np.ndarray) -> np.ndarray:
    """float32[k] of the pairs of a's rows with b's: 1 where they are of one content, else the Jaccard similarity of
    their sets of shingles, at most `ALMOST_ONE`; 0 where one of them has none."""
    out = np.empty(len(rows_a), np.float32)
    _compare(a, rows_a, b, rows_b, out)
    return out


@kernel
def _compare(a, rows_a, b, rows_b, out):
    for pair in range(out.size):
        x, y = rows_a[pair], rows_b[pair]
        if a.contents[x, 0] == b.contents[y, 0] and a.contents[x, 1] == b.contents[y, 1]:
            out[pair] = 1.0
            continue
        both, either = overlap(a.sets, a.begins[x], a.ends[x], b.sets, b.begins[y], b.ends[y])
        out[pair] = min(np.float32(both / max(either, 1)), ALMOST_ONE)

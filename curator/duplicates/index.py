"""The duplicate index: fed unit by unit in any order, it finds every verified pair of a set larger than memory.

Hashes and signatures lie in a scratch folder, one file for each band, so that finding pairs reads one band at a time.
Knows hashes and row numbers; neither texts nor which row should stay.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from curator.duplicates.edges import ALMOST_ONE, Edges
from curator.duplicates.signatures import band_hashes
from curator.signals.text.bytescan import kernel

__all__ = ["SMALL_BUCKET", "DuplicateIndex"]

SMALL_BUCKET: Final = 16
"""In a bucket of at most so many rows every pair is a candidate; in a larger one each row is paired with the bucket's
first row and with the row before it, so that a million near-copies cost two million pairs, not half a trillion."""


class _Unit(NamedTuple):
    first_row: int
    rows: int
    position: int  # in the files, in rows


class DuplicateIndex:
    """Add every unit once, in any order, then ask for `edges`; the answer does not depend on the order.

    scratch: an existing empty folder, the caller's to delete; takes 16 bytes a row, and 4 P + 8 bands more with
    signatures. In memory: about 100 bytes a row while pairs are sought, and 20 bytes for each pair found.
    bands: how many bands signatures of P numbers are cut into. Raises ValueError where the folder is not empty.
    """

    def __init__(self, scratch: str | Path, *, bands: int = 14):
        self._folder = Path(scratch)
        if any(self._folder.iterdir()):
            raise ValueError(f"the scratch folder {self._folder} is not empty; its files would mix with the index's")
        self._bands = bands
        self._units: list[_Unit] = []
        self._num_perm: int | None = None

    def add(self, first_row: int, content_hash: np.ndarray, signatures: np.ndarray | None = None) -> None:
        """One unit: rows first_row.. of the whole set, content_hash uint64[n, 2], signatures uint32[n, P] or None.

        Raises ValueError where shapes disagree, where rows were added before, or where only some units have signatures.
        """
        rows = len(content_hash)
        width = 0 if signatures is None else signatures.shape[1]
        self._check(first_row, rows, width, signatures)
        if rows == 0:
            return
        self._num_perm = width
        self._append("content", np.ascontiguousarray(content_hash, np.uint64))
        if signatures is not None:
            self._append("signatures", np.ascontiguousarray(signatures, np.uint32))
            hashes = band_hashes(signatures, self._bands)
            for band in range(self._bands):
                self._append(f"band-{band}", np.ascontiguousarray(hashes[:, band]))
        position = self._units[-1].position + self._units[-1].rows if self._units else 0
        self._units.append(_Unit(first_row, rows, position))

    def edges(self, floor: float) -> Edges:
        """Equal content tied to its first row (similarity 1), and every other candidate pair of similarity >= floor.

        Candidates share a band; their similarity is the share of equal positions in their signatures, at most
        `ALMOST_ONE`.
        """
        rows, positions = self._row_order()
        if not self._units:
            return Edges(rows, rows, np.zeros(0, np.float32))
        content = self._read("content", np.uint64, 2)[positions]
        pairs = _exact_pairs(content)
        similarity = np.ones(len(pairs), np.float32)
        if self._num_perm:
            near, measured = self._near_pairs(positions, np.float32(floor))
            unlike = (content[near[:, 0]] != content[near[:, 1]]).any(axis=1)
            pairs = np.concatenate([pairs, near[unlike]])
            similarity = np.concatenate([similarity, measured[unlike]])
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        return Edges(rows[pairs[order, 0]], rows[pairs[order, 1]], similarity[order])

    def _check(self, first_row: int, rows: int, width: int, signatures: np.ndarray | None) -> None:
        if signatures is not None and len(signatures) != rows:
            raise ValueError(f"{len(signatures)} signatures for {rows} content hashes")
        if rows and self._num_perm is not None and width != self._num_perm:
            raise ValueError(f"signatures of {width} numbers after units with {self._num_perm}; all units must agree")
        for unit in self._units:
            if first_row < unit.first_row + unit.rows and unit.first_row < first_row + rows:
                raise ValueError(
                    f"rows {first_row} to {first_row + rows - 1} overlap a unit already added at row {unit.first_row}"
                )

    def _append(self, name: str, values: np.ndarray) -> None:
        with (self._folder / name).open("ab") as file:
            values.tofile(file)

    def _read(self, name: str, dtype: type, width: int) -> np.ndarray:
        """A memory map of a whole file, in the order units came."""
        flat = np.memmap(self._folder / name, dtype, mode="r")
        return flat.reshape(-1, width) if width > 1 else flat

    def _row_order(self) -> tuple[np.ndarray, np.ndarray]:
        """(global row numbers in ascending order, where each lies in the files)."""
        units = sorted(self._units)
        if not units:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        rows = np.concatenate([np.arange(unit.first_row, unit.first_row + unit.rows, dtype=np.int64) for unit in units])
        places = np.concatenate([np.arange(unit.position, unit.position + unit.rows, dtype=np.int64) for unit in units])
        return rows, places

    def _near_pairs(self, positions: np.ndarray, floor: np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Verified candidates as (int64[k, 2] of ranks in row order, float32[k])."""
        signatures = self._read("signatures", np.uint32, int(self._num_perm or 0))
        count = max(len(positions), 1)
        known = np.zeros(0, np.int64)
        similarity = np.zeros(0, np.float32)
        for band in range(self._bands):
            pairs = _bucket_pairs(self._read(f"band-{band}", np.uint64, 1)[positions])
            packed = _unknown(pairs[:, 0] * count + pairs[:, 1], known)
            fresh = np.stack(np.divmod(packed, count), axis=1)
            measured = np.minimum(_agreement(signatures, positions, fresh), ALMOST_ONE)
            close = measured >= floor
            known = np.concatenate([known, packed[close]])
            similarity = np.concatenate([similarity, measured[close]])
            order = np.argsort(known)
            known, similarity = known[order], similarity[order]
        return np.stack(np.divmod(known, count), axis=1), similarity


def _exact_pairs(hashes: np.ndarray) -> np.ndarray:
    """int64[k, 2]: each row of a content tied to the first row with that content; (0, 0) is no content."""
    rows = np.flatnonzero(hashes.any(axis=1))
    rows = rows[np.lexsort((rows, hashes[rows, 1], hashes[rows, 0]))]
    same = (hashes[rows[1:]] == hashes[rows[:-1]]).all(axis=1)
    leads = np.concatenate([[True], ~same])[: len(rows)]
    first = rows[leads][np.cumsum(leads) - 1] if len(rows) else rows
    return np.stack([first[~leads], rows[~leads]], axis=1)


def _bucket_pairs(hashes: np.ndarray) -> np.ndarray:
    """int64[k, 2]: candidate pairs of one band, smaller rank first; a hash of 0 is no words."""
    order = np.argsort(hashes, kind="stable").astype(np.int64)
    order = order[np.searchsorted(hashes[order], 1) :]
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(order)])
    sizes = np.diff(np.append(starts, len(order)))
    shared = sizes > 1
    starts, sizes = starts[shared], sizes[shared]
    small = np.minimum(sizes, SMALL_BUCKET)
    counts = np.where(sizes <= SMALL_BUCKET, small * (small - 1) // 2, 2 * sizes - 3)
    pairs = np.empty((int(counts.sum()), 2), np.int64)
    _fill_pairs(order, starts, sizes, pairs)
    return pairs


def _unknown(packed: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those of `packed` (int64[k], no two equal) that are not in `known` (sorted)."""
    at = np.searchsorted(known, packed)
    met = at < len(known)
    met[met] = known[at[met]] == packed[met]
    return packed[~met]


@kernel
def _fill_pairs(order, starts, sizes, pairs):
    at = 0
    for bucket in range(starts.size):
        members = order[starts[bucket] : starts[bucket] + sizes[bucket]]
        for j in range(1, members.size):
            partners = j if members.size <= SMALL_BUCKET else min(j, 2)
            for k in range(partners):  # a large bucket: the first member, then the one before
                pairs[at, 0] = members[k if members.size <= SMALL_BUCKET or k == 0 else j - 1]
                pairs[at, 1] = members[j]
                at += 1


@kernel
def _agreement(signatures, positions, pairs):
    """float32[k]: share of equal positions of each pair's signatures."""
    out = np.empty(len(pairs), np.float32)
    for k in range(len(pairs)):
        x, y = signatures[positions[pairs[k, 0]]], signatures[positions[pairs[k, 1]]]
        equal = 0
        for p in range(x.size):
            equal += x[p] == y[p]
        out[k] = equal / x.size
    return out

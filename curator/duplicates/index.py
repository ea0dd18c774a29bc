"""The duplicate index: fed unit by unit in any order, it finds every verified pair of a set larger than memory.

Hashes and signatures lie in a scratch folder, one file for each band, so that finding pairs reads one band at a time.
Signatures are read in bounded blocks, never mapped: mapped pages count as this process's memory and grow with the set.
Knows hashes and row numbers; neither texts nor which row should stay.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from bisect import insort
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from curator.duplicates.edges import ALMOST_ONE, Edges
from curator.duplicates.signatures import band_hashes
from curator.errors import IntegrityError
from curator.signals.text.bytescan import kernel
from curator.stopping import hear

__all__ = ["SMALL_BUCKET", "DuplicateIndex"]

SMALL_BUCKET: Final = 16
"""In a bucket of at most so many rows every pair is a candidate; in a larger one each row is paired with the bucket's
first row and with the row before it, so that a million near-copies cost two million pairs, not half a trillion."""


BLOCK_BYTES: Final = 8 << 20
"""Signatures held at once while candidates are verified."""


class _Unit(NamedTuple):
    first_row: int
    rows: int
    position: int  # in the files, in rows


class DuplicateIndex:
    """Add every unit once, in any order, then ask for `edges`; the answer does not depend on the order.

    scratch: an existing empty folder, the caller's to delete; takes 16 bytes a row, and 4 P + 8 bands more with
    signatures. In memory: about 64 bytes a row while pairs are sought, 20 bytes for each pair found, and `BLOCK_BYTES`.
    bands: how many bands signatures of P numbers are cut into. Raises ValueError where the folder is not empty.
    """

    def __init__(self, scratch: str | Path, *, bands: int = 14):
        self._folder = Path(scratch)
        if any(self._folder.iterdir()):
            raise ValueError(f"the scratch folder {self._folder} is not empty; its files would mix with the index's")
        self._bands = bands
        self._units: list[_Unit] = []  # by first row
        self._num_perm: int | None = None

    def add(
        self,
        first_row: int,
        content_hash: np.ndarray,
        signatures: np.ndarray | None = None,
        *,
        apart: np.ndarray | None = None,
    ) -> None:
        """One unit: rows first_row.. of the whole set, content_hash uint64[n, 2], signatures uint32[n, P] or None.

        apart: uint64[n], a random-looking number for each kind of row, such as a hash of its label: rows of different
        numbers never meet, so that the pairs found within a kind are those of an index that holds it alone.
        Raises ValueError where shapes disagree, where rows were added before, or where only some units have signatures.
        """
        rows = len(content_hash)
        width = 0 if signatures is None else signatures.shape[1]
        self._check(first_row, rows, width, signatures)
        if apart is not None and len(apart) != rows:
            raise ValueError(f"{len(apart)} numbers to tell rows apart for {rows} content hashes")
        if rows == 0:
            return
        self._num_perm = width
        numbers = np.zeros(rows, np.uint64) if apart is None else np.asarray(apart, np.uint64)
        self._append("content", _told_apart(np.asarray(content_hash, np.uint64), numbers))
        if signatures is not None:
            self._append("signatures", np.ascontiguousarray(signatures, np.uint32))
            hashes = _told_apart(band_hashes(signatures, self._bands), numbers & ~np.uint64(1))  # an odd hash stays so
            for band in range(self._bands):
                self._append(f"band-{band}", np.ascontiguousarray(hashes[:, band]))
        position = sum(unit.rows for unit in self._units)
        insort(self._units, _Unit(first_row, rows, position))

    def edges(self, floor: float) -> Edges:
        """Equal content tied to its first row (similarity 1), and every other candidate pair of similarity >= floor.

        Candidates share a band; their similarity is the share of equal positions in their signatures, at most
        `ALMOST_ONE`.
        """
        if not self._units:
            return Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        content = self._column("content", 2)
        pairs = _exact_pairs(content)
        similarity = np.ones(len(pairs), np.float32)
        if self._num_perm:
            near, measured = self._near_pairs(np.float32(floor))
            unlike = (content[near[:, 0]] != content[near[:, 1]]).any(axis=1)
            pairs = np.concatenate([pairs, near[unlike]])
            similarity = np.concatenate([similarity, measured[unlike]])
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        return Edges(self._rows(pairs[order, 0]), self._rows(pairs[order, 1]), similarity[order])

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

    def _column(self, name: str, width: int) -> np.ndarray:
        """uint64[n, width] (uint64[n] for a width of 1) of a file, by rank: a row's place in row order."""
        out = np.empty((self._starts[-1], width), np.uint64)
        with (self._folder / name).open("rb", buffering=0) as file:
            for unit, first in zip(self._units, self._starts, strict=False):
                _fill(file, unit.position * out.itemsize * width, out[first : first + unit.rows])
        return out if width > 1 else out[:, 0]

    @property
    def _starts(self) -> np.ndarray:
        """int64[units + 1]: rank of each unit's first row, and how many rows there are."""
        return np.cumsum([0, *(unit.rows for unit in self._units)])

    def _rows(self, ranks: np.ndarray) -> np.ndarray:
        """Global row numbers of ranks."""
        return ranks + self._shift(ranks, [unit.first_row for unit in self._units])

    def _shift(self, ranks: np.ndarray, firsts: list[int]) -> np.ndarray:
        """What leads from a rank to its row where each unit's rows are numbered from `firsts`."""
        starts = self._starts[:-1]
        return (np.array(firsts, np.int64) - starts)[np.searchsorted(starts, ranks, side="right") - 1]

    def _near_pairs(self, floor: np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Verified candidates as (int64[k, 2] of ranks, float32[k])."""
        count = int(self._starts[-1])
        known = np.zeros(0, np.int64)
        similarity = np.zeros(0, np.float32)
        for band in range(self._bands):
            hear()
            pairs = _bucket_pairs(self._column(f"band-{band}", 1))
            packed = _unknown(pairs[:, 0] * count + pairs[:, 1], known)
            del pairs  # as many as all bands may find; not held while signatures are read
            packed.sort()  # so that pairs of one block lie close together in the file
            measured = self._similarities(packed, count)
            close = measured >= floor
            known = np.concatenate([known, packed[close]])
            similarity = np.concatenate([similarity, measured[close]])
            order = np.argsort(known)
            known, similarity = known[order], similarity[order]
        return np.stack(np.divmod(known, count), axis=1), similarity

    def _similarities(self, packed: np.ndarray, count: int) -> np.ndarray:
        """float32[k] of the pairs a · count + b, block by block: no more than `BLOCK_BYTES` of signatures at once."""
        width = int(self._num_perm or 0)
        out = np.empty(len(packed), np.float32)
        step = max(BLOCK_BYTES // (2 * 4 * width), 1)
        with (self._folder / "signatures").open("rb", buffering=0) as file:
            for first in range(0, len(packed), step):
                hear()
                pairs = np.stack(np.divmod(packed[first : first + step], count), axis=1)
                ranks, members = np.unique(pairs, return_inverse=True)
                signatures = self._signatures(file, ranks, width)
                out[first : first + step] = _agreement(signatures, members.reshape(-1, 2))
        return np.minimum(out, ALMOST_ONE)

    def _signatures(self, file: Any, ranks: np.ndarray, width: int) -> np.ndarray:
        """uint32[len(ranks), width] of ascending ranks; neighbours are read together."""
        out = np.empty((len(ranks), width), np.uint32)
        places = ranks + self._shift(ranks, [unit.position for unit in self._units])
        ends = np.append(np.flatnonzero(np.diff(places) != 1) + 1, len(places)).tolist()
        first = 0
        for end in ends:
            _fill(file, int(places[first]) * 4 * width, out[first:end])
            first = end
        return out


def _fill(file: Any, offset: int, out: np.ndarray) -> None:
    """Reads `out` whole from an unbuffered file. Raises IntegrityError where the file ends early."""
    view = out.data.cast("B")
    file.seek(offset)
    while view.nbytes:
        size = file.readinto(view)
        if not size:
            raise IntegrityError(f"{file.name} ends {view.nbytes} bytes early: cut off while in use; resume the run")
        view = view[size:]


def _told_apart(hashes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """uint64[n, k]: each row's hashes shifted by its number; 0, which is no content or no words, stays 0."""
    return np.where(hashes.any(axis=1, keepdims=True), hashes ^ numbers[:, None], np.uint64(0))


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
    order = np.argsort(hashes, kind="stable").astype(np.int64, copy=False)
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
def _agreement(signatures, pairs):
    """float32[k]: share of equal positions of each pair's signatures."""
    out = np.empty(len(pairs), np.float32)
    for k in range(len(pairs)):
        x, y = signatures[pairs[k, 0]], signatures[pairs[k, 1]]
        equal = 0
        for p in range(x.size):
            equal += x[p] == y[p]
        out[k] = equal / x.size
    return out

"""Difficulty: easy, medium and hard as exact thirds of the kept rows, by score, ties by sample id.

Knows nothing of what a score means; lower is easier. A NaN score ("could not be measured") counts as harder than
any number: a curriculum then meets the unknown last, and the thirds stay exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa

__all__ = ["EASY", "HARD", "MEDIUM", "NAMES", "UNKNOWN", "TercileCuts", "sample_id_bytes", "terciles"]

EASY: Final = 0
MEDIUM: Final = 1
HARD: Final = 2
UNKNOWN: Final = 255
"""A row that has no difficulty: dropped, or not yet measured."""
NAMES: Final = ("easy", "medium", "hard")
"""Names by code."""

_DIGITS: Final = 10  # a key is 32 bits of score and 128 of sample id: ten 16-bit digits
_BINS: Final = 1 << 16

SampleIds: TypeAlias = pa.FixedSizeBinaryArray | pa.ChunkedArray | np.ndarray
Units: TypeAlias = Callable[[], Iterable[tuple[np.ndarray, SampleIds]]]


def sample_id_bytes(sample_ids: SampleIds) -> np.ndarray:
    """Sample ids as uint8[n, 16]; a view where the layout allows.

    sample_ids: Arrow fixed_size_binary(16) without nulls, or uint8[n, 16]. Raises ValueError otherwise.
    """
    if isinstance(sample_ids, np.ndarray):
        if sample_ids.dtype != np.uint8 or sample_ids.ndim != 2 or sample_ids.shape[1] != 16:
            raise ValueError(f"sample ids are {sample_ids.dtype}{list(sample_ids.shape)}, expected uint8[n, 16]")
        return sample_ids
    if isinstance(sample_ids, pa.ChunkedArray):
        sample_ids = sample_ids.combine_chunks()
    if sample_ids.type != pa.binary(16) or sample_ids.null_count:
        raise ValueError(
            f"sample ids are {sample_ids.type} with {sample_ids.null_count} nulls, "
            "expected fixed_size_binary[16] without nulls"
        )
    flat = np.frombuffer(sample_ids.buffers()[1] or b"", dtype=np.uint8)
    start = sample_ids.offset * 16
    return flat[start : start + len(sample_ids) * 16].reshape(-1, 16)


def terciles(scores: np.ndarray, sample_ids: SampleIds) -> np.ndarray:
    """Difficulty codes uint8[n] of n kept rows: thirds by rising score, ties by rising sample id.

    scores: float32[n], NaN counts as hardest. Sizes differ by at most one, the larger ones first (largest remainder).
    """
    keys = _keys(scores, sample_ids)
    order = np.lexsort(keys.T[::-1])
    out = np.empty(len(keys), dtype=np.uint8)
    easy, medium, _ = third_sizes(len(keys))
    out[order[:easy]], out[order[easy : easy + medium]], out[order[easy + medium :]] = EASY, MEDIUM, HARD
    return out


def third_sizes(n: int) -> tuple[int, int, int]:
    """Exact thirds of n; what remains goes to easy, then medium."""
    q, r = divmod(n, 3)
    return q + (r > 0), q + (r > 1), q


@dataclass(frozen=True)
class TercileCuts:
    """The keys at which easy and medium end: classifies units one by one as `terciles` does all at once.

    A key is (score, sample id) as 20 bytes that sort like the pair; None when the class is empty.
    """

    easy_last: bytes | None
    medium_last: bytes | None
    num_rows: int

    @classmethod
    def find(cls, units: Units, *, max_held: int = 1 << 20) -> TercileCuts:
        """Finds the cuts in a few passes over the units, holding at most about `max_held` keys (20 bytes each).

        units: called once a pass; yields (scores float32[m], sample ids) of the kept rows, the same on every call.
        Radix selection: each pass counts the next 16 bits of the keys that can still be the cut.
        """
        num_rows = sum(len(scores) for scores, _ in units())
        easy, medium, _ = third_sizes(num_rows)
        ranks = [easy - 1, easy + medium - 1]
        found = [_select(units, rank, max_held) if rank >= 0 else None for rank in ranks]
        return cls(found[0], found[1], num_rows)

    def classify(self, scores: np.ndarray, sample_ids: SampleIds) -> np.ndarray:
        """Difficulty codes uint8[m] of one unit; scores float32[m]."""
        packed = _packed(_keys(scores, sample_ids))
        out = np.full(len(packed), HARD, dtype=np.uint8)
        for code, last in ((MEDIUM, self.medium_last), (EASY, self.easy_last)):
            if last is not None:
                out[_at_most(packed, _packed(np.frombuffer(last, dtype=">u2")[None, :])[0])] = code
        return out


def _keys(scores: np.ndarray, sample_ids: SampleIds) -> np.ndarray:
    """Sort keys as uint16[n, 10], most significant digit first."""
    ids = sample_id_bytes(sample_ids)
    if len(ids) != len(scores):
        raise ValueError(f"{len(scores)} scores for {len(ids)} sample ids")
    keys = np.empty((len(ids), _DIGITS), dtype=np.uint16)
    ordered = _ordered_bits(np.asarray(scores, dtype=np.float32))
    keys[:, 0], keys[:, 1] = ordered >> np.uint32(16), ordered & np.uint32(0xFFFF)
    keys[:, 2:] = np.ascontiguousarray(ids).view(">u2")
    return keys


def _ordered_bits(scores: np.ndarray) -> np.ndarray:
    """float32[n] to uint32[n] of the same order; -0 equals 0, every NaN is the largest."""
    bits = (scores + np.float32(0)).view(np.uint32)
    flipped = np.where(bits >> np.uint32(31) != 0, ~bits, bits | np.uint32(1 << 31))
    return np.where(np.isnan(scores), np.uint32(0xFFFFFFFF), flipped)


def _packed(keys: np.ndarray) -> np.ndarray:
    """uint16[n, 10] as uint64[n, 3] of the same order."""
    wide = np.zeros((len(keys), 12), dtype=">u2")
    wide[:, :_DIGITS] = keys
    return wide.view(">u8").astype(np.uint64)


def _at_most(packed: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Which keys are not above `last`, compared word by word. packed: uint64[n, 3]. Returns bool[n]."""
    below = packed[:, 2] <= last[2]
    for word in (1, 0):
        below = (packed[:, word] < last[word]) | ((packed[:, word] == last[word]) & below)
    return np.asarray(below)


def _select(units: Units, rank: int, max_held: int) -> bytes:
    """The key of a 0-based rank among all keys of all units, as 20 big-endian bytes."""
    prefix: list[int] = []
    while len(prefix) < _DIGITS:
        counts = np.zeros(_BINS, dtype=np.int64)
        for keys in _matching(units, prefix):
            counts += np.bincount(keys[:, len(prefix)], minlength=_BINS)
        ends = np.cumsum(counts)
        digit = int(np.searchsorted(ends, rank, side="right"))
        rank -= int(ends[digit] - counts[digit])
        prefix.append(digit)
        if counts[digit] <= max_held:
            held = np.concatenate(list(_matching(units, prefix)))
            return bytes(held[np.lexsort(held.T[::-1])[rank]].astype(">u2").tobytes())
    return np.array(prefix, dtype=">u2").tobytes()


def _matching(units: Units, prefix: list[int]) -> Iterator[np.ndarray]:
    """Keys of every unit that begin with the prefix; copies, so that a unit can be freed."""
    for scores, sample_ids in units():
        keys = _keys(scores, sample_ids)
        for place, digit in enumerate(prefix):
            keys = keys[keys[:, place] == digit]
        yield keys

"""Best-fit packing: pieces of texts into sequences of one length, in the order they come, with bounded memory.

Knows pieces and lengths; nothing of text, of batches or of where pieces come from. The outcome is a function of the
pieces and their order alone; the state is what has been added and not yet taken.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np

__all__ = ["Packer", "PackerState", "Piece", "Sequence", "state_from_arrays"]


@dataclass(frozen=True)
class Piece:
    """Tokens that stay together: a text, or the part of a long one that fills a sequence."""

    row: int
    """the text's number within its epoch"""
    row_targets: int
    """targets of the whole text"""
    sample_id: bytes
    inputs: np.ndarray
    """int32[n]"""
    targets: np.ndarray
    """int32[n]: the ids to predict, IGNORE where there is nothing to learn"""

    def __len__(self) -> int:
        return len(self.inputs)


Sequence = tuple[Piece, ...]


@dataclass(frozen=True)
class PackerState:
    """Sequences that are full, in order, and those still open, with their numbers."""

    full: tuple[Sequence, ...]
    open: tuple[tuple[int, Sequence], ...]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint: pieces end to end, and the numbers of the open sequences (-1: full)."""
        sequences = [(-1, pieces) for pieces in self.full] + list(self.open)
        pieces = [piece for _, sequence in sequences for piece in sequence]
        empty = np.zeros(0, dtype=np.int32)
        return {
            "sequences": np.array([(number, len(held)) for number, held in sequences], np.int64).reshape(-1, 2),
            "pieces": np.array([(p.row, p.row_targets, len(p)) for p in pieces], dtype=np.int64).reshape(-1, 3),
            "sample_ids": np.frombuffer(b"".join(p.sample_id for p in pieces), dtype=np.uint8).reshape(-1, 16).copy(),
            "inputs": np.concatenate([empty, *(piece.inputs for piece in pieces)]),
            "targets": np.concatenate([empty, *(piece.targets for piece in pieces)]),
        }


def state_from_arrays(arrays: dict[str, np.ndarray]) -> PackerState:
    """What `to_arrays` wrote."""
    ends = np.cumsum(arrays["pieces"][:, 2])
    pieces = iter(
        Piece(
            int(row),
            int(targets),
            ids.tobytes(),
            arrays["inputs"][end - size : end],
            arrays["targets"][end - size : end],
        )
        for (row, targets, size), end, ids in zip(arrays["pieces"], ends, arrays["sample_ids"], strict=True)
    )
    held = [(int(number), tuple(next(pieces) for _ in range(count))) for number, count in arrays["sequences"]]
    return PackerState(
        full=tuple(sequence for number, sequence in held if number < 0),
        open=tuple((number, sequence) for number, sequence in held if number >= 0),
    )


class Packer:
    """Each piece goes to the open sequence with the least room that holds it, the oldest among equals; else into a new
    one. Above `num_open` sequences the fullest is closed (Coffman et al. 1996, "bounded-space best fit").

    `length` may change only while nothing is open.
    """

    def __init__(self, length: int, num_open: int):
        self.length, self.num_open = length, num_open
        self.full: deque[Sequence] = deque()
        self._open: dict[int, list[Piece]] = {}
        self._room: list[tuple[int, int]] = []
        """(room left, number) of the open sequences, sorted"""
        self._next = 0

    def __len__(self) -> int:
        """Sequences that hold something."""
        return len(self.full) + len(self._open)

    def add(self, piece: Piece) -> None:
        """Raises ValueError for a piece that is empty or longer than a sequence."""
        if not 0 < len(piece) <= self.length:
            raise ValueError(f"a piece of {len(piece)} tokens has no place in sequences of {self.length}")
        at = bisect_left(self._room, (len(piece), -1))
        if at < len(self._room):
            room, number = self._room.pop(at)
        else:
            room, number = self.length, self._next
            self._open[number] = []
            self._next += 1
        self._open[number].append(piece)
        if room == len(piece):
            self._close(number)
        else:
            insort(self._room, (room - len(piece), number))
        if len(self._room) > self.num_open:
            self._close(self._room.pop(0)[1])

    def close_all(self) -> None:
        """Nothing more will be added to what is open: it counts as full, oldest first."""
        for number in sorted(self._open):
            self._close(number)
        self._room.clear()

    def take(self, count: int) -> list[Sequence]:
        """Up to that many full sequences, in the order they became so."""
        return [self.full.popleft() for _ in range(min(count, len(self.full)))]

    def state(self) -> PackerState:
        """An immutable copy; the pieces are shared."""
        return PackerState(tuple(self.full), tuple((number, tuple(held)) for number, held in self._open.items()))

    def load(self, state: PackerState) -> None:
        """Goes on from there."""
        self.full = deque(state.full)
        self._open = {number: list(held) for number, held in state.open}
        self._room = sorted((self.length - sum(map(len, held)), number) for number, held in state.open)
        self._next = max(self._open, default=-1) + 1

    def _close(self, number: int) -> None:
        self.full.append(tuple(self._open.pop(number)))

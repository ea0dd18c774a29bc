"""Best fit: nothing lost, nothing torn, next to no padding, and the same packing after any interruption."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.training.packing import Packer, Piece, state_from_arrays


def _piece(row: int, length: int) -> Piece:
    ids = np.arange(row, row + length, dtype=np.int32)
    return Piece(row, length, row.to_bytes(16, "big"), ids, ids + 1)


def _rows(sequences: list[tuple[Piece, ...]]) -> list[list[int]]:
    return [[piece.row for piece in sequence] for sequence in sequences]


def _slowly(lengths: list[int], length: int, num_open: int) -> list[list[int]]:
    """The twin: looks at every open sequence for every piece."""
    held: list[tuple[int, list[int]]] = []  # (number, rows), oldest first
    full, made = [], 0
    for row, size in enumerate(lengths):
        room = {number: length - sum(lengths[r] for r in rows) for number, rows in held}
        fits = sorted((free, number) for number, free in room.items() if free >= size)
        if not fits:
            held.append((made, []))
            fits, made = [(length, made)], made + 1
        number = fits[0][1]
        dict(held)[number].append(row)
        room[number] = fits[0][0] - size
        fullest = min((free, number) for number, free in room.items())
        close = number if room[number] == 0 else fullest[1] if len(held) > num_open else None
        if close is not None:
            full.append(dict(held)[close])
            held = [(number, rows) for number, rows in held if number != close]
    return full + [rows for _, rows in sorted(held)]


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), max_size=60), num_open=st.integers(1, 8))
def test_packing_equals_the_slow_twin(lengths: list[int], num_open: int) -> None:
    packer = Packer(20, num_open)
    for row, size in enumerate(lengths):
        packer.add(_piece(row, size))
        assert len(packer) - len(packer.full) <= num_open, "memory is bounded"
    packer.close_all()
    sequences = packer.take(len(lengths))
    assert _rows(sequences) == _slowly(lengths, 20, num_open)
    assert sorted(row for rows in _rows(sequences) for row in rows) == list(range(len(lengths)))
    assert all(sum(map(len, sequence)) <= 20 for sequence in sequences) and not len(packer)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=40), data=st.data())
def test_a_packer_goes_on_from_its_state_on_disk(lengths: list[int], data: st.DataObject) -> None:
    stops = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    whole, parts = Packer(20, 4), Packer(20, 4)
    given_whole, given_parts = [], []
    for row, size in enumerate(lengths):
        for packer, out in ((whole, given_whole), (parts, given_parts)):
            packer.add(_piece(row, size))
            if len(packer.full) >= 2:
                out += packer.take(2)
        if row in stops:
            state = state_from_arrays(parts.state().to_arrays())
            parts = Packer(20, 4)
            parts.load(state)
    for packer, out in ((whole, given_whole), (parts, given_parts)):
        packer.close_all()
        out += packer.take(len(lengths))
    assert _rows(given_parts) == _rows(given_whole)
    for ours, theirs in zip(given_parts, given_whole, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a.row_targets, a.sample_id) == (b.row_targets, b.sample_id)
            np.testing.assert_array_equal(a.inputs, b.inputs)
            np.testing.assert_array_equal(a.targets, b.targets)


@pytest.mark.parametrize(("length", "least"), [(4096, 0.985), (8192, 0.985), (16384, 0.97)])
def test_real_looking_lengths_leave_next_to_no_padding(length: int, least: float) -> None:
    draws = np.random.Generator(np.random.Philox(key=[0, 1]))
    lengths = np.minimum(np.exp(draws.normal(5.9, 1.0, 4000)).astype(int) + 2, length)
    packer = Packer(length, 64)
    for row, size in enumerate(lengths.tolist()):
        packer.add(_piece(row, size))
    taken = packer.take(len(packer.full))
    fill = sum(len(piece) for sequence in taken for piece in sequence) / (len(taken) * length)
    assert fill > least


@pytest.mark.parametrize("size", [0, 21])
def test_pieces_that_have_no_place_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a piece of {size} tokens has no place in sequences of 20"):
        Packer(20, 4).add(_piece(0, size))

"""Spans: the mask they mean, the blocks that hold it, the offsets of documents end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask

from pipelines.training.spans import Spans, block_lists, first_positions, spans, window_spans


def _mask(documents: list[list[int]], length: int, window: int | None) -> np.ndarray:
    """The twin: who sees whom, pair by pair."""
    out = np.zeros((len(documents), length, length), dtype=bool)
    for row, sizes in enumerate(documents):
        names = np.repeat(np.arange(len(sizes) + 1), [*sizes, length - sum(sizes)])
        for query in range(length):
            for key in range(query + 1):
                near = window is None or query - key < window
                out[row, query, key] = near and names[query] == names[key]
    return out


CASES = st.tuples(
    st.lists(st.lists(st.integers(1, 9), max_size=5).filter(lambda sizes: sum(sizes) <= 24), min_size=1, max_size=3),
    st.none() | st.integers(1, 26),
)


@settings(max_examples=40, deadline=None)
@given(case=CASES, block=st.sampled_from([4, 7, 8]))
def test_spans_and_blocks_are_the_mask(case: tuple[list[list[int]], int | None], block: int) -> None:
    documents, window = case
    made, wanted = spans(documents, 24, kernel="mask", window=window), _mask(documents, 24, window)
    first = made.first_BT.numpy()
    place = np.arange(24)
    np.testing.assert_array_equal((place <= place[:, None]) & (place >= first[:, :, None]), wanted)
    assert (np.diff(first, axis=1) >= 0).all() and wanted.any(-1).all(), "every position sees itself"
    partial, full = block_lists(first, block)
    for row in range(len(documents)):
        for i in range(partial.shape[1]):
            for j in range(partial.shape[1]):
                part = wanted[row, i * block : (i + 1) * block, j * block : (j + 1) * block]
                assert full[row, i, j] == part.all() and partial[row, i, j] == (part.any() and not part.all())
    real = sum(sum(sizes) for sizes in documents)
    assert made.num_pairs == sum(wanted[row, : sum(sizes)].sum() for row, sizes in enumerate(documents)), (
        f"pairs of {real} real positions"
    )


@pytest.mark.parametrize("window", [None, 200])
def test_block_masks_are_torchs_own(window: int | None) -> None:
    """The same lists as `create_block_mask` finds from the T×T mask, kernels' backward lists included."""
    documents = [[100, 300, 112], [512], [17, 128, 128]]
    made = spans(documents, 512, kernel="flex", window=window)
    assert made.blocks is not None
    theirs = create_block_mask(made.blocks.mask_mod, 3, None, 512, 512, device="cpu")
    for side in ("kv", "q"):
        for kind in ("", "full_"):
            ours_n, theirs_n = (getattr(b, f"{kind}{side}_num_blocks") for b in (made.blocks, theirs))
            ours_i, theirs_i = (getattr(b, f"{kind}{side}_indices") for b in (made.blocks, theirs))
            assert torch.equal(ours_n, theirs_n) and ours_n.is_contiguous() and ours_i.is_contiguous()
            for where in torch.cartesian_prod(torch.arange(3), torch.arange(4)).tolist():
                count = int(ours_n[where[0], 0, where[1]])
                assert torch.equal(ours_i[where[0], 0, where[1], :count], theirs_i[where[0], 0, where[1], :count])


def test_moved_spans_look_at_moved_tensors() -> None:
    made = spans([[3, 5]], 8, kernel="flex")
    moved = made.each(torch.clone)
    assert moved.blocks is not None and made.blocks is not None
    made.first_BT.fill_(7)
    at = torch.tensor
    assert bool(moved.blocks.mask_mod(at(0), at(0), at(2), at(1))), "not the emptied original"
    assert torch.equal(moved.blocks.kv_indices, made.blocks.kv_indices)


def test_offsets_are_padded_to_few_sizes() -> None:
    made = spans([[3, 5], [4]], 8, kernel="varlen")
    assert made.offsets is not None and made.offsets.dtype == torch.int32 and made.longest == 8
    assert made.offsets.tolist() == [0, 3, 8, 12, 16, *[16] * 59]
    assert spans([[130, 800]], 1024, kernel="varlen").longest == 896
    many = spans([[1] * 100], 100, kernel="varlen").offsets
    assert many is not None and len(many) == 128


def test_too_much_for_a_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="documents of 9 tokens do not fit into a sequence of 8"):
        spans([[4, 5]], 8, kernel="mask")


def test_a_window_alone() -> None:
    made: Spans = window_spans(2, 6, 3, kernel="mask")
    assert made.first_BT.tolist() == [[0, 0, 0, 1, 2, 3]] * 2 and made.num_pairs == 2 * (1 + 2 + 3 * 4)
    assert first_positions([[6]], 6, None).tolist() == [[0] * 6]

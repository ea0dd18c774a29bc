"""What a position may look at, as one span that ends at itself: packed documents, a sliding window, or both.

Made from document lengths on the CPU, in the loader, without a T×T mask; knows numbers only: no text, no model.

Legend: B sequences of a batch, T positions, N = B·T, n blocks of BLOCK positions in a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

__all__ = ["BLOCK", "Kernel", "Spans", "block_lists", "first_positions", "spans", "window_spans"]

Kernel = Literal["mask", "flex", "varlen"]
"""mask: SDPA with a T×T mask, anywhere; flex: FlexAttention; varlen: FlashAttention over documents end to end."""

BLOCK = 128
"""positions a side of FlexAttention's blocks; 128 is its default"""

_FEWEST_OFFSETS = 64


@dataclass(frozen=True)
class Spans:
    """Position t of a sequence looks at `first_BT[b, t]` to t, and at nothing else."""

    kernel: Kernel
    first_BT: Tensor
    """int32; never falls along a sequence"""
    offsets: Tensor | None = None
    """where documents begin in the B·T positions end to end, and then N until the end: int32. For varlen"""
    blocks: BlockMask | None = None
    """for flex"""
    longest: int = 0
    """no document is longer; rounded up to whole blocks"""
    window: int | None = None
    num_pairs: int = 0
    """(query, key) pairs of all sequences, padding left out"""

    def each(self, move: Callable[[Tensor], Tensor]) -> Spans:
        """With every tensor moved; the block mask then looks at the moved spans."""
        first = move(self.first_BT)
        offsets = None if self.offsets is None else move(self.offsets)
        return replace(self, first_BT=first, offsets=offsets, blocks=_moved(self.blocks, move, first))


def spans(lengths: Sequence[Sequence[int]], length: int, *, kernel: Kernel, window: int | None = None) -> Spans:
    """The spans of B sequences of `length` positions whose documents have those lengths, in order, from position 0.

    What is left of a sequence is padding: one more document, which nobody else sees. Raises ValueError where documents
    are longer than their sequence.
    """
    num_pairs = sum(_pairs(size, window) for row in lengths for size in row)
    filled = [[*row, *([length - sum(row)] if sum(row) < length else [])] for row in lengths]
    if any(sum(row) != length for row in filled):
        raise ValueError(f"documents of {max(map(sum, filled))} tokens do not fit into a sequence of {length}")
    first_BT = first_positions(filled, length, window)
    longest = min(-(-max(size for row in filled for size in row) // BLOCK) * BLOCK, length)
    made = Spans(kernel, torch.from_numpy(first_BT), longest=longest, window=window, num_pairs=num_pairs)
    if kernel == "varlen":
        return replace(made, offsets=torch.from_numpy(_offsets(filled)))
    return replace(made, blocks=_block_mask(first_BT, made.first_BT)) if kernel == "flex" else made


def window_spans(num_sequences: int, length: int, window: int, *, kernel: Kernel) -> Spans:
    """Whole sequences, each one document, seen through a sliding window."""
    return spans([[length]] * num_sequences, length, kernel=kernel, window=window)


def first_positions(lengths: Sequence[Sequence[int]], length: int, window: int | None) -> np.ndarray:
    """int32[B, T]: the first position each position looks at: its document's, or `window` - 1 before it."""
    out = np.empty((len(lengths), length), dtype=np.int32)
    for row, sizes in enumerate(lengths):
        out[row] = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    if window is not None:
        np.maximum(out, np.arange(length, dtype=np.int32) - (window - 1), out=out)
    return out


def block_lists(first_BT: np.ndarray, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """(partial, full), bool[B, n, n]: key blocks of which a query block sees some, and all.

    Along a sequence spans begin ever later, so a query block sees nothing before its first position's span, and sees a
    key block before it whole exactly when its last position does.
    """
    length = first_BT.shape[1]
    edges = np.arange(0, length, block)
    lasts = np.minimum(edges + block, length) - 1
    key = np.arange(len(edges))
    seen = (key[None, None, :] <= key[None, :, None]) & (key >= (first_BT[:, edges] // block)[:, :, None])
    full = (key[None, None, :] < key[None, :, None]) & (edges >= first_BT[:, lasts][:, :, None])
    return seen & ~full, full


def _offsets(lengths: Sequence[Sequence[int]]) -> np.ndarray:
    """int32: 0, then the end of every document; repeated at the end up to a power of two, so that shapes stay few."""
    ends = np.cumsum([0, *(size for row in lengths for size in row)])
    room = max(_FEWEST_OFFSETS, 1 << (len(ends) - 1).bit_length())
    return np.concatenate((ends, np.full(room - len(ends), ends[-1]))).astype(np.int32)


def _block_mask(first_BT: np.ndarray, first: Tensor) -> BlockMask:
    partial, full = (_ordered(seen) for seen in block_lists(first_BT))
    size = first_BT.shape[1]
    return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=BLOCK, mask_mod=_sees(first), seq_lengths=(size, size))


def _ordered(seen: np.ndarray) -> tuple[Tensor, Tensor]:
    """(how many int32[B, 1, n], which first int32[B, 1, n, n]), contiguous: the kernels read them as if they were."""
    count = np.ascontiguousarray(seen.sum(-1), dtype=np.int32)
    order = np.ascontiguousarray(np.argsort(~seen, axis=-1, kind="stable"), dtype=np.int32)
    return torch.from_numpy(count)[:, None], torch.from_numpy(order)[:, None]


def _sees(first_BT: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key >= first_BT[batch, query])

    return mask


_BLOCK_TENSORS = (
    "kv_num_blocks",
    "kv_indices",
    "full_kv_num_blocks",
    "full_kv_indices",
    "q_num_blocks",
    "q_indices",
    "full_q_num_blocks",
    "full_q_indices",
)


def _moved(blocks: BlockMask | None, move: Callable[[Tensor], Tensor], first_BT: Tensor) -> BlockMask | None:
    if blocks is None:
        return None
    moved: dict[str, Any] = {name: move(getattr(blocks, name)) for name in _BLOCK_TENSORS}
    return BlockMask(
        seq_lengths=blocks.seq_lengths,
        BLOCK_SIZE=blocks.BLOCK_SIZE,
        mask_mod=_sees(first_BT),
        **moved,
    )


def _pairs(size: int, window: int | None) -> int:
    """(query, key) pairs of one document."""
    if window is None or window >= size:
        return size * (size + 1) // 2
    return window * (window + 1) // 2 + (size - window) * window

"""Loss and slopes of a chunk of logits in one Triton kernel, in place: one read from memory, one write.

Knows logits and targets; nothing of models. Its twin in plain PyTorch is `loss.chunk_slopes`, which torch.compile turns
into a kernel that reads a row from memory again for every pass; here few enough rows are under way that the second
pass finds its row in the cache. Loads Triton: imported only where the kernel is to run.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from pipelines.training.loss import IGNORE

__all__ = ["in_place_slopes"]

_BLOCK = 4096
_WARPS = 16
"""Two rows for each multiprocessor: at a vocabulary of 50,304 in 16 bits, 26 of an H200's 60 MB of cache."""


def in_place_slopes(
    logits_NV: Tensor, targets_N: Tensor, *, block: int = _BLOCK, warps: int = _WARPS
) -> tuple[Tensor, Tensor]:
    """(loss float32[N], `logits_NV` itself, now holding the gradient of each row's loss); both 0 where ignored.

    float32 sums whatever the dtype of the logits; rows must be contiguous; a target outside [0, V) is undefined.
    """
    assert logits_NV.stride(1) == 1, "rows of logits are contiguous"
    losses = torch.empty(len(targets_N), dtype=torch.float32, device=logits_NV.device)
    size, stride = logits_NV.shape[1], logits_NV.stride(0)
    if len(targets_N):
        _slopes[(len(targets_N),)](
            logits_NV, targets_N, losses, size, stride, IGNORED=IGNORE, BLOCK=block, num_warps=warps
        )
    return losses, logits_NV


@triton.jit
def _slopes(logits, targets, losses, size, stride, IGNORED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    real = target != IGNORED
    place = tl.arange(0, BLOCK)
    begin = logits + row * stride
    top = float("-inf")
    sums = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, size, BLOCK):
        at = first + place
        x = tl.load(begin + at, mask=at < size, other=float("-inf")).to(tl.float32) * 1.4426950408889634
        higher = tl.maximum(top, tl.max(x, 0))
        sums = sums * tl.exp2(top - higher) + tl.exp2(x - higher)
        top = higher
    total = top + tl.log2(tl.sum(sums, 0))  # log2 of the sum of powers of e
    hit = tl.load(begin + tl.where(real, target, 0)).to(tl.float32)
    tl.store(losses + row, tl.where(real, total * 0.6931471805599453 - hit, 0.0))
    tl.debug_barrier()  # every warp has read the target's logit before any overwrites it
    for first in range(0, size, BLOCK):
        at = first + place
        x = tl.load(begin + at, mask=at < size, other=float("-inf")).to(tl.float32) * 1.4426950408889634
        slope = tl.exp2(x - total) - tl.where(at == target, 1.0, 0.0)
        slope = tl.where(real, slope, 0.0)
        tl.store(begin + at, slope.to(logits.dtype.element_ty), mask=at < size)

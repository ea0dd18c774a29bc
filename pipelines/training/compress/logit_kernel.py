"""The loss between two rows of scores and its slopes in one Triton kernel: two passes, nothing kept between them.

Knows scores; nothing of models. Its twin in plain PyTorch is `distil.logit_slopes`. The tiling is the quickest of seven
measured on an H200. Loads Triton: imported only where the kernel is to run.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

__all__ = ["fused_logit_slopes"]

_BLOCK = 2048
_WARPS = 4


def fused_logit_slopes(
    scores_NC: Tensor,
    wanted_NC: Tensor,
    temperature: float,
    *,
    out: Tensor | None = None,
    block: int = _BLOCK,
    warps: int = _WARPS,
) -> tuple[Tensor, Tensor]:
    """(τ²·KL(softmax(wanted/τ) ‖ softmax(scores/τ)) of each row float32[N], its slope by the scores, in their dtype).

    `out` takes the slopes; it may be `scores_NC` itself. float32 sums whatever the dtype; rows must be contiguous.
    """
    assert scores_NC.shape == wanted_NC.shape, "one wanted score for each score"
    assert scores_NC.stride(1) == wanted_NC.stride(1) == 1, "rows of scores are contiguous"
    slopes = torch.empty_like(scores_NC) if out is None else out
    losses = torch.empty(len(scores_NC), dtype=torch.float32, device=scores_NC.device)
    if len(losses):
        _slopes[(len(losses),)](
            scores_NC, wanted_NC, slopes, losses, scores_NC.shape[1],
            scores_NC.stride(0), wanted_NC.stride(0), slopes.stride(0),
            1.4426950408889634 / temperature, temperature, BLOCK=block, num_warps=warps,
        )  # fmt: skip
    return losses, slopes


@triton.jit
def _slopes(  # type: ignore[no-untyped-def]
    scores, wanted, slopes, losses, size, stride_s, stride_w, stride_o, sharpness, temperature, BLOCK: tl.constexpr
):
    """In powers of 2: x = score·log2(e)/τ. With p the wanted distribution, KL = Σp(w - s) + log Σeˢ - log Σeʷ."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    from_s, from_w = scores + row * stride_s, wanted + row * stride_w
    top_s = float("-inf")
    top_w = float("-inf")
    sum_s = tl.zeros((BLOCK,), dtype=tl.float32)
    sum_w = tl.zeros((BLOCK,), dtype=tl.float32)
    apart = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, size, BLOCK):
        at = first + place
        s = tl.load(from_s + at, mask=at < size, other=float("-inf")).to(tl.float32) * sharpness
        w = tl.load(from_w + at, mask=at < size, other=float("-inf")).to(tl.float32) * sharpness
        high_s = tl.maximum(top_s, tl.max(s, 0))
        high_w = tl.maximum(top_w, tl.max(w, 0))
        power = tl.exp2(w - high_w)
        fall = tl.exp2(top_w - high_w)
        sum_s = sum_s * tl.exp2(top_s - high_s) + tl.exp2(s - high_s)
        sum_w = sum_w * fall + power
        apart = apart * fall + tl.where(at < size, power * (w - s), 0.0)
        top_s = high_s
        top_w = high_w
    total_w = tl.sum(sum_w, 0)
    all_s = top_s + tl.log2(tl.sum(sum_s, 0))
    all_w = top_w + tl.log2(total_w)
    nats = (tl.sum(apart, 0) / total_w + all_s - all_w) * 0.6931471805599453
    tl.store(losses + row, nats * temperature * temperature)
    tl.debug_barrier()  # every warp has read its part of the row before any overwrites it
    for first in range(0, size, BLOCK):
        at = first + place
        s = tl.load(from_s + at, mask=at < size, other=float("-inf")).to(tl.float32) * sharpness
        w = tl.load(from_w + at, mask=at < size, other=float("-inf")).to(tl.float32) * sharpness
        slope = (tl.exp2(s - all_s) - tl.exp2(w - all_w)) * temperature
        tl.store(slopes + row * stride_o + at, slope.to(slopes.dtype.element_ty), mask=at < size)

"""Attention over time with a temporal convolution of the values: each place of a video looks at itself in all frames.

Knows tensors only: no videos, no model. On CUDA one Triton kernel forward and one backward (`temporal_kernel.py`)
behind a registered operator, so that torch.compile keeps them whole; the plain twin serves everything else.

Legend: B clips, T frames, N places of a frame, H heads, D head width, C = H·D channels, K = 3 taps of the convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["TAPS", "attend_over_time", "attend_over_time_plain", "has_kernel"]

TAPS = 3

_LONGEST, _WIDTHS = 128, (16, 32, 64, 128)


def attend_over_time(qkv_BTN3C: Tensor, weights_KC: Tensor, heads: int, lengths_B: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D)·v over the frames of each place, plus Σⱼ wⱼ·v[t+j-1]: [B, T, N, C] in the dtype of qkv.

    `qkv_BTN3C`: queries, keys and values side by side, as one projection gives them. `weights_KC` float32: what the
    frame before, this one and the one after add, channel by channel. `lengths_B` int32: the real frames of each clip,
    at least one, the first ones; those after are neither looked at nor convolved, and come out as 0.

    Raises ValueError where shapes do not belong together.
    """
    _check(qkv_BTN3C, weights_KC, heads, lengths_B)
    if qkv_BTN3C.is_cuda and has_kernel(qkv_BTN3C.shape[1], weights_KC.shape[1] // heads):
        from pipelines.training.temporal_kernel import temporal_attention

        return temporal_attention(qkv_BTN3C, weights_KC.float(), lengths_B, heads)
    return attend_over_time_plain(qkv_BTN3C, weights_KC, heads, lengths_B)


def attend_over_time_plain(
    qkv_BTN3C: Tensor, weights_KC: Tensor, heads: int, lengths_B: Tensor | None = None
) -> Tensor:
    """The twin of `attend_over_time`, every intermediate spelled out, in the dtype given (use float64)."""
    batch, frames, places, _ = qkv_BTN3C.shape
    q, k, v = qkv_BTN3C.view(batch, frames, places, 3, heads, -1).permute(3, 0, 2, 4, 1, 5)  # each [B, N, H, T, D]
    scores_BNHTT = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    real_BT = None
    if lengths_B is not None:
        real_BT = torch.arange(frames, device=lengths_B.device) < lengths_B[:, None]
        scores_BNHTT = scores_BNHTT.masked_fill(~real_BT[:, None, None, None, :], -torch.inf)
        v = v * real_BT[:, None, None, :, None]
    mixed_BNHTD = torch.softmax(scores_BNHTT, dim=-1) @ v
    before, here, after = weights_KC.to(v.dtype).view(TAPS, heads, 1, -1)
    wide = F.pad(v, (0, 0, 1, 1))
    mixed_BNHTD = mixed_BNHTD + wide[..., :-2, :] * before + v * here + wide[..., 2:, :] * after
    if real_BT is not None:
        mixed_BNHTD = mixed_BNHTD * real_BT[:, None, None, :, None]
    return mixed_BNHTD.permute(0, 3, 1, 2, 4).reshape(batch, frames, places, -1).to(qkv_BTN3C.dtype)


def has_kernel(frames: int, width: int) -> bool:
    """Whether the Triton kernels take clips of that many frames and heads of that width: all scores fit a program."""
    return 1 <= frames <= _LONGEST and width in _WIDTHS


def _check(qkv: Tensor, weights: Tensor, heads: int, lengths: Tensor | None) -> None:
    if qkv.ndim != 4 or weights.ndim != 2 or weights.shape[0] != TAPS or qkv.shape[3] != 3 * weights.shape[1]:
        raise ValueError(
            f"qkv is [B, T, N, 3·C] and the weights are [{TAPS}, C]; got {tuple(qkv.shape)} and {tuple(weights.shape)}"
        )
    if heads < 1 or weights.shape[1] % heads:
        raise ValueError(f"{weights.shape[1]} channels do not split into {heads} heads")
    if lengths is not None and (lengths.shape != qkv.shape[:1] or lengths.dtype != torch.int32):
        raise ValueError(
            f"lengths are int32, one for each of {qkv.shape[0]} clips; got {lengths.dtype} {tuple(lengths.shape)}"
        )

"""Attention behind one door: PyTorch's fused scaled-dot-product kernels, and the plain twin that says what they mean.

Knows tensors only: no model, no tokens, no device policy.

Legend: B batch, H heads, T positions, D head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend", "attend_reference", "rotary_table", "rotate"]


def attend(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, *, causal: bool, keys_BT: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D)·v, fused; the backend is PyTorch's choice (cuDNN, flash, efficient; a blocked loop on CPU).

    `keys_BT` bool marks the keys that may be looked at; None means all of them, which keeps the unmasked kernels.
    Every row must have at least one such key. Causal attention over right-padded rows needs no mask: a real position
    never looks at what comes after it. Returns [B, H, T, D] in the dtype of v.
    """
    if keys_BT is None:
        return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=causal)
    mask = keys_BT[:, None, None, :]
    if causal:
        mask = mask & _lower_triangle(q_BHTD.shape[-2], q_BHTD.device)
    return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=mask)


def attend_reference(
    q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, *, causal: bool, keys_BT: Tensor | None = None
) -> Tensor:
    """The twin of `attend`: every intermediate spelled out, in the dtype given (use float64). O(T²) memory.

    Equation 1 of Vaswani et al. 2017 (arXiv 1706.03762).
    """
    scores_BHTT = q_BHTD @ k_BHTD.transpose(-1, -2) / math.sqrt(q_BHTD.shape[-1])
    if causal:
        scores_BHTT = scores_BHTT.masked_fill(~_lower_triangle(q_BHTD.shape[-2], q_BHTD.device), -math.inf)
    if keys_BT is not None:
        scores_BHTT = scores_BHTT.masked_fill(~keys_BT[:, None, None, :], -math.inf)
    return torch.softmax(scores_BHTT, dim=-1) @ v_BHTD


def rotary_table(
    length: int,
    width: int,
    *,
    base: float = 10_000.0,
    first: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """(cos, sin) [T, D/2] of the angles by which `rotate` turns a head of `width` D: position first + t turns pair d by
    (first + t)·base^(-2d/D) radians (Su et al. 2021, arXiv 2104.09864, eq. 15). Made once for all layers.

    Raises ValueError for an odd width.
    """
    if width % 2:
        raise ValueError(f"rotary embedding turns pairs: head width {width} is odd; choose an even one")
    powers = torch.arange(width // 2, device=device, dtype=dtype) * (-2.0 / width)
    positions = torch.arange(first, first + length, device=device, dtype=dtype)
    angles_TD = positions[:, None] * torch.pow(base, powers)
    return angles_TD.cos(), angles_TD.sin()


def rotate(x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Rotary position embedding (same paper, eq. 34) of the pairs (d, d + D/2), computed in the table's precision.

    The product of a turned query and a turned key depends on the distance between them alone. Keeps the dtype.
    """
    left, right = x_BHTD.chunk(2, dim=-1)
    turned = torch.cat((left * cos_TD - right * sin_TD, right * cos_TD + left * sin_TD), dim=-1)
    return turned.to(x_BHTD.dtype)


def _lower_triangle(length: int, device: torch.device) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()

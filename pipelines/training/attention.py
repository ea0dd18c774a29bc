"""Attention behind one door: PyTorch's fused kernels for whole rows and for spans, and the plain twin that says what
they mean.

Knows tensors only: no model, no tokens, no device policy (which kernel is to serve is in the spans: `kernels.py`).

Legend: B batch, H heads, T positions, D head width, N = B·T.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import flex_attention as flex
from torch.nn.attention.varlen import varlen_attn

from pipelines.training.spans import BLOCK, Spans

__all__ = ["attend", "attend_reference"]


def attend(
    q_BHTD: Tensor,
    k_BHTD: Tensor,
    v_BHTD: Tensor,
    *,
    causal: bool,
    keys_BT: Tensor | None = None,
    spans: Spans | None = None,
) -> Tensor:
    """softmax(q·kᵀ/√D)·v, fused. Three layouts:

    - whole rows: every position, or with `causal` every one up to itself; the unmasked kernels;
    - padded rows, `keys_BT` bool: the keys that may be looked at, at least one for every row. Causal attention over
      right-padded rows needs none: a real position never looks at what comes after it;
    - `spans`: packed documents or a sliding window, by the kernel they were made for. Causal by nature.

    Returns [B, H, T, D] in the dtype of v.
    """
    if spans is not None:
        return _over_spans(q_BHTD, k_BHTD, v_BHTD, spans)
    if keys_BT is None:
        return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=causal)
    mask = keys_BT[:, None, None, :]
    if causal:
        mask = mask & _lower_triangle(q_BHTD.shape[-2], q_BHTD.device)
    return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=mask)


def attend_reference(
    q_BHTD: Tensor,
    k_BHTD: Tensor,
    v_BHTD: Tensor,
    *,
    causal: bool,
    keys_BT: Tensor | None = None,
    spans: Spans | None = None,
) -> Tensor:
    """The twin of `attend`: every intermediate spelled out, in the dtype given (use float64). O(T²) memory.

    Equation 1 of Vaswani et al. 2017 (arXiv 1706.03762).
    """
    scores_BHTT = q_BHTD @ k_BHTD.transpose(-1, -2) / math.sqrt(q_BHTD.shape[-1])
    if causal:
        scores_BHTT = scores_BHTT.masked_fill(~_lower_triangle(q_BHTD.shape[-2], q_BHTD.device), -math.inf)
    if keys_BT is not None:
        scores_BHTT = scores_BHTT.masked_fill(~keys_BT[:, None, None, :], -math.inf)
    if spans is not None:
        scores_BHTT = scores_BHTT.masked_fill(~_seen(spans.first_BT), -math.inf)
    return torch.softmax(scores_BHTT, dim=-1) @ v_BHTD


def _over_spans(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, spans: Spans) -> Tensor:
    if spans.kernel == "mask":
        return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=_seen(spans.first_BT))
    if spans.kernel == "flex":
        return _flex()(q_BHTD, k_BHTD, v_BHTD, block_mask=spans.blocks, kernel_options=_tiles(q_BHTD))
    assert spans.offsets is not None, "spans for varlen carry the documents' offsets"
    back = -1 if spans.window is None else spans.window - 1
    flat: Any = [x_BHTD.transpose(1, 2).flatten(0, 1) for x_BHTD in (q_BHTD, k_BHTD, v_BHTD)]
    lengths: Any = (spans.offsets, spans.offsets, spans.longest, spans.longest)
    mixed_NHD: Any = varlen_attn(*flat, *lengths, window_size=(back, 0))
    return mixed_NHD.unflatten(0, (q_BHTD.shape[0], q_BHTD.shape[2])).transpose(1, 2)


_FORWARD_64: Final = {"fwd_BLOCK_M": 128, "fwd_BLOCK_N": 64, "fwd_num_warps": 4, "fwd_num_stages": 3}
_BACKWARD: Final = {
    **{"bwd_BLOCK_M1": 32, "bwd_BLOCK_N1": 64, "bwd_BLOCK_M2": 64, "bwd_BLOCK_N2": 32},
    **{"bwd_num_warps": 4, "bwd_num_stages": 3},
}


def _tiles(q_BHTD: Tensor) -> dict[str, Any]:
    """Tiles of FlexAttention in 16 bits: on the published list of documents smaller ones than PyTorch's own take a
    seventh less time on an H200 at 64 wide heads, a twentieth at 128, for most documents are short. Of sequences of
    whole blocks alone: with fixed tiles a sequence shorter than one comes out wrong (PyTorch 2.11)."""
    if q_BHTD.dtype == torch.float32 or q_BHTD.shape[2] % BLOCK:
        return {}
    return {**(_FORWARD_64 if q_BHTD.shape[-1] <= 64 else {}), **_BACKWARD}


@cache
def _flex() -> Any:
    """FlexAttention, compiled: uncompiled it holds all T×T scores."""
    return torch.compile(flex.flex_attention, dynamic=False)


def _seen(first_BT: Tensor) -> Tensor:
    """bool[B, 1, T, T] from the spans' beginnings."""
    place = torch.arange(first_BT.shape[1], device=first_BT.device)
    seen_BTT = (place <= place[:, None]) & (place >= first_BT[:, :, None])
    return seen_BTT[:, None]


def _lower_triangle(length: int, device: torch.device) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()

"""Cross-entropy of a language model that never holds all its logits at once, and the plain twin.

Knows hidden states, a projection and targets; nothing of models, tokens or optimisers.

Legend: N positions of a batch in one row, D hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "IGNORE",
    "Slopes",
    "chunk_slopes",
    "chunked_cross_entropy",
    "document_means",
    "plain_cross_entropy",
    "row_means",
]

IGNORE = -100
"""A target that is no target: padding."""


Slopes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`chunk_slopes`, or what does the same: it may overwrite the logits it is given."""


def chunked_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    chunk: int = 4096,
    slopes: Slopes | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """(mean loss over real targets, with gradient; loss per position float32[N], detached, 0 where ignored).

    Logits live for `chunk` positions at a time: O(chunk·V) memory, not O(N·V). The gradient of the mean is computed
    on the way forward (as in Liger-Kernel, arXiv 2410.10989, section 3.2), unscaled, so that half precision does not
    underflow; the incoming gradient and 1/N are applied in the backward. Matrix products run in `dtype`, by default the
    autocast dtype where one is on; soft-max, losses and the sum of the weight's gradient in float32 (float64 stays
    float64). Without any real target the mean is 0, and so is its gradient.
    """
    count = (targets_N != IGNORE).sum().clamp(min=1)
    total, per_position = _ChunkedSum.apply(
        hidden_ND,
        weight_VD,
        targets_N,
        chunk,
        dtype or _product_dtype(hidden_ND, weight_VD),
        slopes or chunk_slopes,
        torch.is_grad_enabled(),
    )
    return total / count, per_position


def chunk_slopes(logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """(loss [N] in float32 or float64, its gradient by the logits [N, V] in their dtype); both 0 where ignored.

    One reduction and one map, which torch.compile makes one kernel: no scatter, no copy in float32.
    """
    precise = torch.float64 if logits_NV.dtype == torch.float64 else torch.float32
    wide_NV, place_N1, real_N1 = logits_NV.to(precise), targets_N[:, None], targets_N[:, None] != IGNORE
    top_N1 = wide_NV.amax(dim=-1, keepdim=True)
    powers_NV = (wide_NV - top_N1).exp()
    sums_N1 = powers_NV.sum(dim=-1, keepdim=True)
    hit_NV = torch.arange(logits_NV.shape[1], device=logits_NV.device) == place_N1
    losses_N1 = (top_N1 + sums_N1.log() - logits_NV.gather(1, place_N1.clamp(min=0)).to(precise)) * real_N1
    slope_NV = torch.where(real_N1, powers_NV / sums_N1 - hit_NV.to(precise), 0.0)
    return losses_N1[:, 0], slope_NV.to(logits_NV.dtype)


def plain_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """The twin of `chunked_cross_entropy`, all N×V logits at once."""
    per_position = F.cross_entropy(hidden_ND @ weight_VD.T, targets_N, ignore_index=IGNORE, reduction="none")
    return per_position.sum() / (targets_N != IGNORE).sum(), per_position.detach()


def row_means(per_position_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """The mean loss of each row over its real targets, [B]; NaN for a row without any."""
    return per_position_BT.sum(dim=1) / (targets_BT != IGNORE).sum(dim=1)


def document_means(per_position_BT: Tensor, targets_BT: Tensor, document_BT: Tensor, num_documents: int) -> Tensor:
    """The mean loss of each packed document over its real targets, [num_documents]; NaN for one without any.

    `document_BT` int64: the document of each position; padding may name any, its loss is 0 and its target not real.
    """
    places_N = document_BT.flatten()
    sums = torch.zeros(num_documents, dtype=per_position_BT.dtype, device=per_position_BT.device)
    counts = torch.zeros_like(sums)
    real_N = (targets_BT != IGNORE).flatten().to(sums.dtype)
    return sums.index_add_(0, places_N, per_position_BT.flatten()) / counts.index_add_(0, places_N, real_N)


def _product_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return torch.promote_types(hidden.dtype, weight.dtype)


class _ChunkedSum(torch.autograd.Function):
    """Sum of losses over real targets; keeps the two gradients, not the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        chunk: int,
        dtype: torch.dtype,
        slopes: Slopes,
        learning: bool,
    ) -> tuple[Tensor, Tensor]:
        precise = torch.float64 if dtype == torch.float64 else torch.float32
        weight = weight_VD.to(dtype)
        losses = torch.empty(targets_N.shape, dtype=precise, device=hidden_ND.device)
        grad_hidden = torch.empty_like(hidden_ND, dtype=dtype)
        grad_weight = torch.zeros_like(weight_VD, dtype=precise)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            for first in range(0, len(targets_N), chunk):
                part = slice(first, first + chunk)
                hidden = hidden_ND[part].to(dtype)
                losses[part], slope_NV = slopes(hidden @ weight.T, targets_N[part])
                if learning:
                    torch.mm(slope_NV, weight, out=grad_hidden[part])
                    _add_product(grad_weight, slope_NV.T, hidden)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = (hidden_ND.dtype, weight_VD.dtype)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        hidden_dtype, weight_dtype = ctx.dtypes
        return (
            (grad_hidden * grad_total).to(hidden_dtype),
            (grad_weight * grad_total).to(weight_dtype),
            *(None,) * 5,
        )


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, summed in the total's precision: on CUDA the product's own float32 sums are kept."""
    if total.is_cuda and total.dtype != left.dtype:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total += left @ right

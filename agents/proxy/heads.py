"""Softmax heads on frozen embeddings: all folds and a path of strengths at once, by bounded Newton steps.

Knows vectors, targets and weights; nothing of trust, policies or rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from curator.stopping import hear

__all__ = ["STEPS", "fit_heads", "fold_masks", "head_log_probs", "with_bias"]

STEPS: Final = 40
"""Steps at each strength, always the same number: stopping when all heads rest would tell one fold of another."""
_BLOCK_ROWS: Final = 8192


def with_bias(x: torch.Tensor) -> torch.Tensor:
    """float32[n, d] with a column of ones appended."""
    return torch.cat([x, torch.ones(len(x), 1)], 1)


def fold_masks(folds: np.ndarray, num_folds: int) -> torch.Tensor:
    """float32[n, num_folds]: 1 where a row trains that fold's head, 0 on the fold's own rows."""
    return torch.from_numpy((folds[:, None] != np.arange(num_folds)[None]).astype(np.float32))


def fit_heads(
    x_ND: torch.Tensor,
    targets_NKC: torch.Tensor,
    weights_NK: torch.Tensor,
    strengths: Sequence[float],
    start_DKC: torch.Tensor | None = None,
    steps: int = STEPS,
) -> torch.Tensor:
    """Heads for K weightings of the same rows at every strength of l2, float32[S, D, K, C].

    x_ND: rows with their bias column. targets_NKC: label probabilities for each head, or [N, 1, C] for all of them.
    weights_NK: row weights of each head, ≥ 0; heads without any weight stay at their start. strengths: l2 in
    descending order, each warm-started from the one before: the path from strong to weak regularisation is the
    training trajectory of an early-stopped head (Ali, Kolter & Tibshirani, AISTATS 2019), in fewer steps. Minimises
    mean cross-entropy + l2·‖W‖² (bias free).

    The Hessian of softmax regression is at most ½·XᵀX in the order of positive matrices (Böhning 1992), so one
    factorisation serves every step and head without a line search; Nesterov momentum with the gradient restart of
    O'Donoghue & Candès (2015) per head.
    """
    d, num_heads, classes = x_ND.shape[1], weights_NK.shape[1], targets_NKC.shape[2]
    weights_NK = weights_NK / weights_NK.sum(0).clamp_min(1e-12)
    gram = (x_ND * weights_NK.amax(1, keepdim=True)).T.double() @ x_ND.double()
    penalised = torch.ones(d, 1, 1)
    penalised[-1] = 0.0
    head = torch.zeros(d, num_heads, classes) if start_DKC is None else start_DKC.clone()
    targets_KCN, weights_KN = targets_NKC.permute(1, 2, 0).contiguous(), weights_NK.T.contiguous()
    path = []
    for l2 in strengths:
        bound = 0.5 * gram + torch.diag(2 * l2 * penalised.flatten().double() + 1e-6)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(bound)).float()
        head = _descend(x_ND, targets_KCN, weights_KN, 2 * l2 * penalised, inverse, head, steps)
        path.append(head)
    return torch.stack(path)


def _descend(
    x: torch.Tensor,
    targets_KCN: torch.Tensor,
    weights_KN: torch.Tensor,
    ridge: torch.Tensor,
    inverse: torch.Tensor,
    head: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    ahead, momentum = head, torch.ones(head.shape[1])
    for _ in range(steps):
        hear()
        gradient = _gradient(x, targets_KCN, weights_KN, ahead) + ridge * ahead
        new = ahead - (inverse @ gradient.flatten(1)).view_as(head)
        move = new - head
        uphill = (gradient * move).sum((0, 2)) > 0
        momentum = torch.where(uphill, torch.ones(()), momentum)
        following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = new + (torch.where(uphill, 0.0, momentum - 1) / following)[:, None] * move
        head, momentum = new, following
    return head


def _gradient(x: torch.Tensor, targets_KCN: torch.Tensor, weights_KN: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Rows lie last: a softmax over a few classes runs along them, three times as fast as across."""
    head_PD = head.flatten(1).T.contiguous()
    total = torch.zeros_like(head_PD)
    for start in range(0, len(x), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        residual_KCB = (head_PD @ x[block].T).view(*head.shape[1:], -1).softmax(1)
        residual_KCB -= targets_KCN[:, :, block]
        residual_KCB *= weights_KN[:, None, block]
        total += residual_KCB.flatten(0, 1) @ x[block]
    return total.T.contiguous().view_as(head)


def head_log_probs(x_BD: torch.Tensor, heads_SDKC: torch.Tensor, which_B: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of each row under its own head, float32[B, S, C]. which_B: int64[B], positions in K."""
    num_strengths, d, num_heads, classes = heads_SDKC.shape
    logits = x_BD @ heads_SDKC.permute(1, 0, 2, 3).reshape(d, -1)
    own = logits.view(-1, num_strengths, num_heads, classes)
    index = which_B[:, None, None, None].expand(-1, num_strengths, 1, classes)
    return own.gather(2, index).squeeze(2).log_softmax(2)

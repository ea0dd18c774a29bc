"""Local gradient credit: does training on this row with this label move the early head as the trusted rows nearby ask?

Alignment with the mean trusted gradient finds little; alignment with a kernel-weighted local one at an early, strongly
regularised head finds label errors without being shown one. Knows nothing of actions or policies.

Legend: B rows of a chunk, T trusted rows, C classes.
"""

from __future__ import annotations

from typing import Final

import torch
from torch.nn.functional import one_hot

__all__ = ["KERNEL_WIDTH", "head_gradient", "kernel", "local_credit"]

KERNEL_WIDTH: Final = 0.1
"""Temperature of the kernel exp(cosine / width)."""


def head_gradient(log_probs_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """Gradient of cross-entropy to the logits, p - onehot(label), float32[B, C]."""
    return log_probs_BC.exp() - one_hot(labels_B, log_probs_BC.shape[1]).float()


def kernel(similarity_BT: torch.Tensor, own_B: torch.Tensor) -> torch.Tensor:
    """Weights over trusted rows, summing to 1 per row; a row has no weight on itself (own_B: its position or -1)."""
    scaled = similarity_BT / KERNEL_WIDTH
    inside = (own_B >= 0).nonzero().squeeze(1)
    scaled[inside, own_B[inside]] = -torch.inf
    return scaled.softmax(1)


def local_credit(
    gradient_BC: torch.Tensor, weights_BT: torch.Tensor, trusted_gradient_TC: torch.Tensor
) -> torch.Tensor:
    """First-order fall of the nearby trusted loss per step on the row, up to scale, float32[B]; below 0 it harms."""
    return (gradient_BC * (weights_BT @ trusted_gradient_TC)).sum(1)

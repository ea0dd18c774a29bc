"""Nearest neighbours by cosine among a bounded reference set, a chunk of queries at a time.

Knows unit vectors, ids and positions; nothing of labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from agents.determinism import id_keys

__all__ = ["NUM_NEIGHBOURS", "Neighbours", "Reference", "unit"]

NUM_NEIGHBOURS: Final = 50


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length 1; a zero row stays zero."""
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)


@dataclass(frozen=True)
class Neighbours:
    """similarity_BJ: float32, cosine, descending. index_BJ: int64, positions in the reference."""

    similarity_BJ: torch.Tensor
    index_BJ: torch.Tensor


@dataclass(frozen=True)
class Reference:
    """unit_NE: float32, unit vectors of N rows, ascending by id. ids_N: uint8[N, 16]."""

    unit_NE: torch.Tensor
    ids_N: torch.Tensor

    def positions(self, keys: np.ndarray) -> torch.Tensor:
        """Where each of S16[B] ids lies in the reference, int64[B]; -1 = not in it."""
        mine = id_keys(self.ids_N.numpy())
        at = np.searchsorted(mine, keys).clip(0, len(mine) - 1)
        return torch.from_numpy(np.where(mine[at] == keys, at, -1))

    def nearest(self, queries_BE: torch.Tensor, keys: np.ndarray, k: int = NUM_NEIGHBOURS) -> Neighbours:
        """The min(k, N - 1) nearest rows; a row is never its own neighbour."""
        similarity = queries_BE @ self.unit_NE.T
        own_B = self.positions(keys)
        inside = (own_B >= 0).nonzero().squeeze(1)
        similarity[inside, own_B[inside]] = -torch.inf
        found = similarity.topk(min(k, len(self.unit_NE) - 1), dim=1)
        return Neighbours(found.values, found.indices)

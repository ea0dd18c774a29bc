"""Where vectors are measured, and rows on their way to features: chunks of one fixed size, padded.

Knows nothing of labels' meaning, of trust or of models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from agents.determinism import CHUNK_ROWS, fold_of, id_keys
from agents.proxy.heads import with_bias
from agents.proxy.neighbours import unit
from agents.types import Rows

__all__ = ["Chunk", "Ranks", "Space", "joined"]

_NORM: Final = 5.0
_RANK_KNOTS: Final = 65


@dataclass(frozen=True)
class Chunk:
    """B = CHUNK_ROWS rows, the last ones possibly padding.

    x_BD: centred and scaled vectors with their bias column. unit_BE: unit vectors. labels_B: given label codes, 0 where
    null. folds_B: int64. keys: S16[B], sample ids. signals_BF: rule signals, NaN = cannot say.
    """

    x_BD: torch.Tensor
    unit_BE: torch.Tensor
    labels_B: torch.Tensor
    folds_B: torch.Tensor
    keys: np.ndarray
    signals_BF: torch.Tensor


@dataclass(frozen=True)
class Space:
    """Centred on the sample's mean, scaled to a mean square length of 25: strengths of l2 mean the same everywhere.

    Where no encoder ran, a row's vector is made of its rule signals: each one's rank and the rank's square, so that
    both too little and too much can be learned. width: of the embeddings, 0 = none. ranks: of signals. centre:
    float32[d]. scale: float32[1]. seed: of the folds.
    """

    width: int
    ranks: Ranks
    centre: torch.Tensor
    scale: torch.Tensor
    seed: int

    @staticmethod
    def fit(rows: Rows, seed: int) -> Space:
        """rows: n ≥ 1, each with a vector."""
        signals = torch.from_numpy(rows.signals.astype(np.float32))
        ranks = Ranks.fit(signals, torch.zeros(len(rows), dtype=torch.int64), 1)
        space = Space(rows.vectors.shape[1], ranks, torch.zeros(1), torch.ones(1), seed)
        x = torch.from_numpy(rows.vectors) if space.width else space._from_signals(signals)
        centre = x.mean(0)
        length = (x - centre).square().sum(1).mean().sqrt().clamp_min(1e-12)
        return replace(space, centre=centre, scale=(_NORM / length).reshape(1))

    def signal_ranks(self, signals_BF: torch.Tensor) -> torch.Tensor:
        """In [-1/2, 1/2], 0 where a signal cannot say, float32[B, F]."""
        return self.ranks.of(signals_BF, torch.zeros(len(signals_BF), dtype=torch.int64)) - 0.5

    def place(self, rows: Rows) -> Chunk:
        """At most CHUNK_ROWS rows, padded to CHUNK_ROWS. Rows without a vector lie at the origin."""
        signals = torch.from_numpy(_padded(rows.signals, np.float32(np.nan)))
        if self.width:
            vectors = np.where(rows.valid[:, None], rows.vectors, self.centre.numpy()[None])
            raw = torch.from_numpy(_padded(vectors, np.float32(0)))
        else:
            raw = self._from_signals(signals)
        x = (raw - self.centre) * self.scale
        ids = _padded(rows.ids, np.uint8(0))
        labels = torch.from_numpy(_padded(np.maximum(rows.labels, 0), np.int64(0)))
        return Chunk(with_bias(x), unit(x), labels, torch.from_numpy(fold_of(ids, self.seed)), id_keys(ids), signals)

    def _from_signals(self, signals_BF: torch.Tensor) -> torch.Tensor:
        ranks_BF = self.signal_ranks(signals_BF)
        return torch.cat([ranks_BF, ranks_BF.square()], 1)

    def place_all(self, rows: Rows) -> list[Chunk]:
        """All rows, chunk by chunk."""
        return [self.place(rows.take(slice(start, start + CHUNK_ROWS))) for start in range(0, len(rows), CHUNK_ROWS)]


def _padded(values: np.ndarray, fill: np.generic) -> np.ndarray:
    out = np.full((CHUNK_ROWS, *values.shape[1:]), fill)
    out[: len(values)] = values
    return out


def joined(parts: Iterable[torch.Tensor], n: int) -> torch.Tensor:
    """Chunks of rows as one tensor of n rows, padding cut off."""
    return torch.cat(list(parts))[:n]


@dataclass(frozen=True)
class Ranks:
    """Where a value lies among its group's values in the sample, in [0, 1]. knots_GFQ: float32, ascending in Q."""

    knots_GFQ: torch.Tensor

    @staticmethod
    def none(num_groups: int, num_features: int) -> Ranks:
        """Ranks of nothing: a placeholder of the right shape."""
        return Ranks(torch.zeros(num_groups, num_features, _RANK_KNOTS))

    @staticmethod
    def fit(values_NF: torch.Tensor, groups_N: torch.Tensor, num_groups: int) -> Ranks:
        """NaN values don't count. A group without values ranks everything at one half or an end."""
        knots = torch.zeros(num_groups, values_NF.shape[1], _RANK_KNOTS)
        grid = torch.linspace(0, 1, _RANK_KNOTS)
        for group in range(num_groups):
            mine = values_NF[groups_N == group]
            if mine.numel():
                knots[group] = torch.nanquantile(mine, grid, dim=0).T.nan_to_num()
        return Ranks(knots)

    def of(self, values_BF: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
        """float32[B, F]; the middle of the ranks a tied value spans; one half for NaN."""
        knots, values = self.knots_GFQ[groups_B].contiguous(), values_BF[:, :, None].contiguous()
        span = torch.searchsorted(knots, values) + torch.searchsorted(knots, values, right=True)
        return torch.where(values_BF.isnan(), 0.5, span.squeeze(2) / (2.0 * _RANK_KNOTS))

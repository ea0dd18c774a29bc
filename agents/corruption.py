"""Self-corruption: learn what a wrong label looks like here by making some, with no trusted row at all.

Labels of confident rows are flipped to confusable ones, every feature of the given labels is refitted on them, and a
logistic scorer learns flipped from not. Knows nothing of trusted rows. The safe score at zero audits: never far below
cleanlab and often above, unlike a judge pretrained on other data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from agents.determinism import CHUNK_ROWS, id_uniform
from agents.given import GivenView
from agents.proxy.neighbours import Neighbours
from agents.scorer import fit_logistic
from agents.space import Chunk

__all__ = ["SelfCorruption"]

FLIPPED_SHARE: Final = 0.2
CONFIDENT_QUANTILE: Final = 0.3
INVERSE_RIDGE: Final = 0.1
LIMIT: Final = 12.0


@dataclass(frozen=True)
class SelfCorruption:
    """mean_F, scale_F: of the features under the given labels. weights_F: last is the intercept.

    good_scores_M: log-odds of the confident rows left as they were, under the corrupted labels, ascending.
    """

    mean_F: torch.Tensor
    scale_F: torch.Tensor
    weights_F: torch.Tensor
    good_scores_M: torch.Tensor

    @staticmethod
    def fit(
        view: GivenView, chunks: Sequence[Chunk], near: Sequence[Neighbours], ids: np.ndarray, seed: int
    ) -> SelfCorruption:
        """view: fitted on the given labels of the same rows. With fewer than two labels in use it scores all alike."""
        labels, classes = view.labels_N, len(view.typical_C)
        real = view.features_of(chunks, near)
        spread = real.std(0, correction=0)
        blank = SelfCorruption(
            real.mean(0),
            torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), 0.0),
            torch.zeros(real.shape[1] + 1),
            torch.zeros(0),
        )
        confident = _confident(view)
        flipped = confident & torch.from_numpy(id_uniform(ids, seed, "flip") < FLIPPED_SHARE)
        if int(flipped.sum()) < 2:
            return blank
        corrupted = torch.where(flipped, _confusable(view, id_uniform(ids, seed, "wrong")), labels)
        noisy = [replace(c, labels_B=_padded(corrupted, i)) for i, c in enumerate(chunks)]
        features = GivenView.fit(noisy, near, corrupted, classes).features_of(noisy, near)
        z = ((features - blank.mean_F) * blank.scale_F)[confident]
        weights = fit_logistic(z.numpy(), flipped[confident].numpy(), INVERSE_RIDGE)
        fitted = replace(blank, weights_F=torch.from_numpy(weights).float())
        return replace(fitted, good_scores_M=fitted.log_odds(features[confident & ~flipped]).sort().values)

    def log_odds(self, features_BF: torch.Tensor) -> torch.Tensor:
        """How much a row looks like a flipped one, float32[B], bent to lie within ±12: bounded, and still in order."""
        z = (features_BF - self.mean_F) * self.scale_F
        return LIMIT * ((z @ self.weights_F[:-1] + self.weights_F[-1]) / LIMIT).tanh()


def _confident(view: GivenView) -> torch.Tensor:
    """bool[N]: the out-of-fold head agrees with the label and is not among its least sure."""
    sure = view.log_probs_NC.amax(1)
    agrees = view.log_probs_NC.argmax(1) == view.labels_N
    return agrees & (sure > sure.quantile(CONFIDENT_QUANTILE))


def _confusable(view: GivenView, draws: np.ndarray) -> torch.Tensor:
    """Another label per row by the root of its out-of-fold probability, int64[N]. draws: float64[N] in [0, 1)."""
    chance = (0.5 * view.log_probs_NC).exp() + 1e-2
    chance.scatter_(1, view.labels_N[:, None], 0.0)
    ladder = (chance / chance.sum(1, keepdim=True)).cumsum(1)
    return (
        torch.searchsorted(ladder, torch.from_numpy(draws).float()[:, None]).squeeze(1).clamp_max(ladder.shape[1] - 1)
    )


def _padded(labels_N: torch.Tensor, chunk: int) -> torch.Tensor:
    piece = labels_N[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]
    return torch.nn.functional.pad(piece, (0, CHUNK_ROWS - len(piece)))

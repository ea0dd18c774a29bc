"""Self-corruption: learn what a wrong label looks like here by making some, with no trusted row at all.

Labels that the model agrees with are flipped as labels are confused here, every feature of the given labels is
refitted on them, and a logistic scorer learns flipped from not. Flips follow the classes' own confusions, sharpened: a
model learns such errors along, as it does people's, so the scorer leans on what still sees them. Knows nothing of
trusted rows. The safe score at zero audits, unlike a judge pretrained on other data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from agents.determinism import CHUNK_ROWS, id_uniform
from agents.given import GivenView, log_margin
from agents.proxy.neighbours import Neighbours
from agents.scorer import fit_logistic
from agents.space import Chunk

__all__ = ["SelfCorruption"]

FLIPPED_SHARE: Final = 0.2
SHARPNESS: Final = 4
"""Power of the confusions: where a class is mistaken for one other above all, nearly all its flips go there."""
INVERSE_RIDGE: Final = 0.1
LIMIT: Final = 12.0


@dataclass(frozen=True)
class SelfCorruption:
    """mean_F, scale_F: of the features under the given labels. weights_F: last is the intercept.

    good_scores_M: log-odds of the agreeing rows left as they were, under the corrupted labels, ascending.
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
        agreeing = log_margin(view.log_probs_NC, labels) > 0
        flipped = agreeing & torch.from_numpy(id_uniform(ids, seed, "flip") < FLIPPED_SHARE)
        if int(flipped.sum()) < 2:
            return blank
        corrupted = torch.where(flipped, _confusable(view, id_uniform(ids, seed, "wrong")), labels)
        noisy = [replace(c, labels_B=_padded(corrupted, i)) for i, c in enumerate(chunks)]
        features = GivenView.fit(noisy, near, corrupted, classes).features_of(noisy, near)
        z = ((features - blank.mean_F) * blank.scale_F)[agreeing]
        weights = fit_logistic(z.numpy(), flipped[agreeing].numpy(), INVERSE_RIDGE)
        fitted = replace(blank, weights_F=torch.from_numpy(weights).float())
        return replace(fitted, good_scores_M=fitted.log_odds(features[agreeing & ~flipped]).sort().values)

    def log_odds(self, features_BF: torch.Tensor) -> torch.Tensor:
        """How much a row looks like a flipped one, float32[B], bent to lie within ±12: bounded, and still in order."""
        z = (features_BF - self.mean_F) * self.scale_F
        return LIMIT * ((z @ self.weights_F[:-1] + self.weights_F[-1]) / LIMIT).tanh()


def _confusable(view: GivenView, draws: np.ndarray) -> torch.Tensor:
    """Another label per row by its class's mean out-of-fold probabilities, sharpened, int64[N]. draws: in [0, 1)."""
    classes = len(view.typical_C)
    mass_CC = torch.zeros(classes, classes).index_add_(0, view.labels_N, view.log_probs_NC.exp())
    mass_CC.fill_diagonal_(0.0)
    share_CC = mass_CC / mass_CC.amax(1, keepdim=True).clamp_min(1e-12)
    ladder_CC = share_CC.pow(SHARPNESS).cumsum(1)
    places = torch.from_numpy(draws).float() * ladder_CC[view.labels_N, -1]
    return torch.searchsorted(ladder_CC[view.labels_N], places[:, None], right=True).squeeze(1).clamp_max(classes - 1)


def _padded(labels_N: torch.Tensor, chunk: int) -> torch.Tensor:
    piece = labels_N[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]
    return torch.nn.functional.pad(piece, (0, CHUNK_ROWS - len(piece)))

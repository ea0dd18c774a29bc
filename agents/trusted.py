"""What the trusted-learning rows say of a row: a head on truths, a model of the hidden truth, credit and votes nearby.

Cross-fitted: whatever speaks of a trusted row never saw its truth.

Legend: B rows of a chunk, N rows learned from, T trusted-learning rows among them, D vector length with bias, C
classes, K folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch.nn.functional import one_hot

from agents.credit import head_gradient, kernel, local_credit
from agents.determinism import NUM_FOLDS
from agents.given import EARLY, Look, label_shares, log_margin, pick
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs
from agents.proxy.neighbours import Reference
from agents.space import Chunk, Ranks, joined

__all__ = ["TrustedView", "posterior"]

TRUTH_STRENGTH: Final = 3e-3
"""l2 of the heads on truths: few rows, so stronger than the converged head on many."""
HIDDEN_STRENGTH: Final = 1e-2
"""l2 of the hidden-truth heads: strong, so that they follow regions rather than rows."""
TRUTH_WEIGHT: Final = 3.0
"""A trusted row counts as three others in the model of the hidden truth."""
_NUM_VOTES: Final = 10
_DIAGONAL, _ANYWHERE = 2.5, 0.5
_PRIOR_ROWS: Final = 2.0


@dataclass(frozen=True)
class TrustedView:
    """Heads and noise come as 2K: the first K speak of trusted rows and k never saw the truths of fold k; the rest
    speak of the other rows and saw all truths.

    truth_heads_DKC: fitted on truths. hidden_heads_DKC: fitted on every row's expected truth outside fold k.
    noise_KCC: P(given | truth) as counted. trusted: the T rows as a reference; given_T, truth_T; gradient_TC:
    of the early head at the truth. bad_share_C: share of bad among trusted rows of a given label. ranks: in the class.
    """

    truth_heads_DKC: torch.Tensor
    hidden_heads_DKC: torch.Tensor
    noise_KCC: torch.Tensor
    trusted: Reference
    given_T: torch.Tensor
    truth_T: torch.Tensor
    gradient_TC: torch.Tensor
    ranks: Ranks

    @staticmethod
    def fit(
        chunks: Sequence[Chunk], looks: Sequence[Look], ids: np.ndarray, at_T: torch.Tensor, truth_T: torch.Tensor
    ) -> TrustedView:
        """chunks, looks, ids: N rows learned from; at_T: positions of trusted ones, ascending; truth_T: int64[T]."""
        n, classes = len(ids), looks[0].log_probs_BSC.shape[2]
        x, folds = joined((c.x_BD for c in chunks), n), joined((c.folds_B for c in chunks), n)
        trusted = Reference(joined((c.unit_BE for c in chunks), n)[at_T], torch.from_numpy(ids)[at_T])
        labels = joined((c.labels_B for c in chunks), n)
        early_TC = joined((look.log_probs_BSC[:, EARLY] for look in looks), n)[at_T]
        outside_NK = fold_masks(folds.numpy(), NUM_FOLDS)
        seen_TK = torch.cat([outside_NK[at_T], torch.ones(len(at_T), NUM_FOLDS)], 1)
        truth = one_hot(truth_T, classes).float()[:, None]
        truth_heads = fit_heads(x[at_T], truth, seen_TK[:, : NUM_FOLDS + 1], (TRUTH_STRENGTH,))[0]
        truth_heads = torch.cat([truth_heads, truth_heads[:, -1:].expand(-1, NUM_FOLDS - 1, -1)], 1)
        noise = _noise(labels[at_T], truth_T, seen_TK, classes)
        hidden_heads = _hidden_truth(x, labels, torch.cat([outside_NK, outside_NK], 1), at_T, truth, truth_heads, noise)
        view = TrustedView(
            truth_heads,
            hidden_heads,
            noise,
            trusted,
            labels[at_T],
            truth_T,
            head_gradient(early_TC, truth_T),
            Ranks.none(classes, len(_RANKED)),
        )
        columns = (
            torch.stack([view._columns(c, c.labels_B, look)[name] for name in _RANKED], 1)
            for c, look in zip(chunks, looks, strict=True)
        )
        return replace(view, ranks=Ranks.fit(joined(columns, n), labels, classes))

    def features(self, chunk: Chunk, look: Look) -> dict[str, torch.Tensor]:
        """Each float32[B]."""
        columns = self._columns(chunk, chunk.labels_B, look)
        ranks_BF = self.ranks.of(torch.stack([columns[name] for name in _RANKED], 1), chunk.labels_B)
        return columns | {f"class_rank_{name}": ranks_BF[:, i] for i, name in enumerate(_RANKED)}

    def truth_posterior(self, chunk: Chunk) -> torch.Tensor:
        """P(truth | vector, given label) by Bayes from the hidden-truth head and the audited noise, float32[B, C]."""
        return posterior(self._by_fold(chunk, self.hidden_heads_DKC), self._likelihood(chunk))

    def _which(self, chunk: Chunk) -> torch.Tensor:
        """Which of the 2K may speak of each row, int64[B]."""
        trusted_B = self.trusted.positions(chunk.keys) >= 0
        return chunk.folds_B + NUM_FOLDS * (~trusted_B).long()

    def _likelihood(self, chunk: Chunk) -> torch.Tensor:
        """P(given | truth) of each row's given label, float32[B, C]."""
        return self.noise_KCC[self._which(chunk), :, chunk.labels_B]

    def _by_fold(self, chunk: Chunk, heads_DKC: torch.Tensor) -> torch.Tensor:
        return head_log_probs(chunk.x_BD, heads_DKC[None], self._which(chunk))[:, 0]

    def nearby(self, chunk: Chunk) -> torch.Tensor:
        """Kernel weights over the trusted rows, float32[B, T]."""
        return kernel(chunk.unit_BE @ self.trusted.unit_NE.T, self.trusted.positions(chunk.keys))

    def _columns(self, chunk: Chunk, labels_B: torch.Tensor, look: Look) -> dict[str, torch.Tensor]:
        truth_BC, hidden_BC = self._by_fold(chunk, self.truth_heads_DKC), self._by_fold(chunk, self.hidden_heads_DKC)
        likelihood_BC = self._likelihood(chunk)
        weights_BT = self.nearby(chunk)
        gradient_BC = head_gradient(look.log_probs_BSC[:, EARLY], labels_B)
        columns = {"credit": local_credit(gradient_BC, weights_BT, self.gradient_TC)}
        for name, log_probs_BC in (("truth", truth_BC), ("hidden", hidden_BC)):
            right_B = pick(posterior(log_probs_BC, likelihood_BC), labels_B)
            columns[f"{name}_surprise"] = -pick(log_probs_BC, labels_B).clamp_min(-9.2)
            columns[f"{name}_margin"] = log_margin(log_probs_BC, labels_B)
            columns[f"{name}_bad"] = 1 - right_B
            columns[f"{name}_bad_odds"] = (1.001 - right_B).log() - (0.001 + right_B).log()
        return columns | self._votes(chunk, labels_B, weights_BT)

    def _votes(self, chunk: Chunk, labels_B: torch.Tensor, weights_BT: torch.Tensor) -> dict[str, torch.Tensor]:
        k = min(_NUM_VOTES, len(self.truth_T) - 1)
        near_BJ = self.trusted.nearest(chunk.unit_BE, chunk.keys, k).index_BJ
        bad_T = (self.given_T != self.truth_T).float()
        same_BT = (self.given_T[None] == labels_B[:, None]).float()
        overall = bad_T.mean()
        class_bad_B = ((same_BT @ bad_T) + _PRIOR_ROWS * overall) / (same_BT.sum(1) + _PRIOR_ROWS)
        near_same_BT = weights_BT * (self.given_T[None] == labels_B[:, None])
        pull = 1.0 / (2.0 * len(self.truth_T))
        return {
            "vote": pick(label_shares(self.truth_T[near_BJ], len(self.gradient_TC[0])), labels_B),
            "nearby_bad": weights_BT @ bad_T,
            "nearby_same_bad": (near_same_BT @ bad_T + pull * class_bad_B) / (near_same_BT.sum(1) + pull),
            "class_bad": class_bad_B,
        }


_RANKED: Final = ("truth_margin", "hidden_margin", "credit")


def posterior(log_probs_BC: torch.Tensor, likelihood_BC: torch.Tensor) -> torch.Tensor:
    """P(truth | vector, given) ∝ P(truth | vector) · P(given | truth), float32[B, C]."""
    joint_BC = log_probs_BC.exp() * likelihood_BC
    return joint_BC / joint_BC.sum(1, keepdim=True).clamp_min(1e-12)


def _noise(given_T: torch.Tensor, truth_T: torch.Tensor, masks_TK: torch.Tensor, classes: int) -> torch.Tensor:
    """P(given | truth) outside each fold, float32[K, truth, given]; a weak prior says labels are mostly right."""
    cells = torch.zeros(classes * classes, masks_TK.shape[1]).index_add_(0, truth_T * classes + given_T, masks_TK)
    counts = cells.T.reshape(-1, classes, classes) + _ANYWHERE + (_DIAGONAL - _ANYWHERE) * torch.eye(classes)
    return counts / counts.sum(2, keepdim=True)


def _hidden_truth(
    x: torch.Tensor,
    labels: torch.Tensor,
    masks_NK: torch.Tensor,
    at_T: torch.Tensor,
    truth: torch.Tensor,
    heads_DKC: torch.Tensor,
    noise_KCC: torch.Tensor,
) -> torch.Tensor:
    """Heads for the truth of every row by one round of expectation maximisation, float32[D, K, C].

    The given label is a noisy witness of a hidden truth (Dawid & Skene 1979; with a classifier Raykar et al., JMLR
    2010): expect each row's truth from the heads on truths and the audited noise, fit a head to that. More rounds
    drift to what the noise itself says. Trusted rows keep their truth. Fold k runs alone on rows, truths and noise
    outside fold k.
    """
    num_folds, classes = heads_DKC.shape[1:]
    weights_NK = masks_NK.clone()
    weights_NK[at_T] *= TRUTH_WEIGHT
    log_probs = (x @ heads_DKC.flatten(1)).view(-1, num_folds, classes).log_softmax(2)
    expected = log_probs.exp() * noise_KCC[:, :, labels].permute(2, 0, 1)
    expected /= expected.sum(2, keepdim=True).clamp_min(1e-12)
    expected[at_T] = truth
    return fit_heads(x, expected, weights_NK, (HIDDEN_STRENGTH,), heads_DKC)[0]

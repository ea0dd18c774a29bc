"""What the given labels say of a row: out-of-fold heads along a path of strengths, confident learning, neighbours.

No model here trained on the row it speaks of. Knows nothing of trusted rows.

Legend: B rows of a chunk, N rows learned from, J neighbours, D vector length with bias, C classes, S strengths,
K folds, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch.nn.functional import one_hot

from agents.determinism import NUM_FOLDS
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs
from agents.proxy.neighbours import Neighbours
from agents.space import Chunk, Ranks, joined

__all__ = [
    "EARLY",
    "STRENGTHS",
    "STRONG",
    "GivenView",
    "Look",
    "label_shares",
    "log_margin",
    "others",
    "pick",
]

STRENGTHS: Final = (3e-2, 3e-3, 1e-3, 1e-4)
"""l2 of the out-of-fold heads, strong to weak. The first is the early head of the credit, the last nearly converged."""
EARLY, STRONG, _, WEAK = range(4)
_NUM_CLOSE: Final = 10
_NUM_SOFT: Final = 20
_LOG_FLOOR: Final = math.log(1e-4)


@dataclass(frozen=True)
class Look:
    """One look at a chunk, reused by every view. log_probs_BSC: of the own fold's heads. near: nearest known rows."""

    log_probs_BSC: torch.Tensor
    near: Neighbours


@dataclass(frozen=True)
class GivenView:
    """heads_SDKC: head k never trained on fold k. typical_C: mean out-of-fold probability of a class's own rows.

    labels_N, log_probs_NC: of the rows learned from, out-of-fold at the strength `best`, whose loss is lowest.
    ranks: of two features among rows of the same label.
    """

    heads_SDKC: torch.Tensor
    best: int
    typical_C: torch.Tensor
    labels_N: torch.Tensor
    log_probs_NC: torch.Tensor
    ranks: Ranks

    @staticmethod
    def fit(chunks: Sequence[Chunk], near: Sequence[Neighbours], labels_N: torch.Tensor, classes: int) -> GivenView:
        """chunks: N ≥ 2 placed rows, each with a vector; near: their neighbours; labels_N: every one given."""
        n, own = len(labels_N), one_hot(labels_N, classes).float()
        heads = _fit_path(chunks, own)
        log_probs_NSC = joined((head_log_probs(c.x_BD, heads, c.folds_B) for c in chunks), n)
        best = int((log_probs_NSC * own[:, None]).sum((0, 2)).argmax())
        log_probs_NC = log_probs_NSC[:, best].contiguous()
        typical = (log_probs_NC.exp() * own).sum(0) / own.sum(0).clamp_min(1)
        view = GivenView(heads, best, typical, labels_N, log_probs_NC, Ranks.none(classes, len(_RANKED)))
        columns = (
            torch.stack([view._columns(c.labels_B, view.look(c, j))[name] for name in _RANKED], 1)
            for c, j in zip(chunks, near, strict=True)
        )
        return replace(view, ranks=Ranks.fit(joined(columns, n), labels_N, classes))

    def look(self, chunk: Chunk, near: Neighbours) -> Look:
        """The own fold's log-probabilities, beside the neighbours."""
        return Look(head_log_probs(chunk.x_BD, self.heads_SDKC, chunk.folds_B), near)

    def features(self, labels_B: torch.Tensor, look: Look) -> dict[str, torch.Tensor]:
        """Each float32[B]. labels_B: the labels asked about."""
        columns = self._columns(labels_B, look)
        ranks_BF = self.ranks.of(torch.stack([columns[name] for name in _RANKED], 1), labels_B)
        return columns | {f"class_rank_{name}": ranks_BF[:, i] for i, name in enumerate(_RANKED)}

    def visible_noise(self) -> float | None:
        """Share of rows off the diagonal of confident learning's counts (Northcutt et al. 2021, eq. 1, uncalibrated).

        Errors that follow a system are learned along with the labels and stay unseen: a lower bound more than an
        estimate (0.07 on NoisyAG-News, where 0.20 are wrong). None where fewer than two labels were given, since there
        is nothing to confuse.
        """
        if int((torch.bincount(self.labels_N) > 0).sum()) < 2:
            return None
        probs_NC = self.log_probs_NC.exp()
        confident_NC = torch.where(probs_NC >= self.typical_C, probs_NC, -1.0)
        best = confident_NC.max(1)
        counted = best.values >= 0
        return float((best.indices != self.labels_N)[counted].sum() / counted.sum().clamp_min(1))

    def features_of(self, chunks: Sequence[Chunk], near: Sequence[Neighbours]) -> torch.Tensor:
        """The features of the N rows learned from, float32[N, F]."""
        parts = (
            torch.stack(list(self.features(c.labels_B, self.look(c, j)).values()), 1)
            for c, j in zip(chunks, near, strict=True)
        )
        return joined(parts, len(self.labels_N))

    def _columns(self, labels_B: torch.Tensor, look: Look) -> dict[str, torch.Tensor]:
        return _path(labels_B, look, self.best) | self._confident(labels_B, look) | self._neighbourhood(labels_B, look)

    def _confident(self, labels_B: torch.Tensor, look: Look) -> dict[str, torch.Tensor]:
        """Gaps to the class thresholds of confident learning (Northcutt, Jiang & Chuang, JAIR 2021, eq. 2)."""
        log_probs_BC = look.log_probs_BSC[:, self.best]
        gaps_BC = log_probs_BC.exp() - self.typical_C
        return {
            "own_gap": pick(gaps_BC, labels_B),
            "other_gap": others(gaps_BC, labels_B).amax(1),
            "entropy": -(log_probs_BC.exp() * log_probs_BC).sum(1),
            "max_probability": log_probs_BC.amax(1).exp(),
        }

    def _neighbourhood(self, labels_B: torch.Tensor, look: Look) -> dict[str, torch.Tensor]:
        near_BJ, columns = look.near.index_BJ, {}
        for k in (_NUM_CLOSE, near_BJ.shape[1]):
            name = "close" if k == _NUM_CLOSE else "wide"
            shares_BC = label_shares(self.labels_N[near_BJ[:, :k]], len(self.typical_C))
            own_B = pick(shares_BC, labels_B)
            columns[f"share_{name}"] = own_B
            columns[f"share_margin_{name}"] = own_B - others(shares_BC, labels_B).amax(1)
            columns[f"share_entropy_{name}"] = -(shares_BC * shares_BC.clamp_min(1e-9).log()).sum(1)
        soft_BJ = self.log_probs_NC[near_BJ[:, :_NUM_SOFT], labels_B[:, None]].exp()
        columns["neighbour_probability"] = soft_BJ.mean(1)
        columns["density"] = look.near.similarity_BJ[:, :_NUM_CLOSE].mean(1)
        return columns


_RANKED: Final = ("best_margin", "neighbour_probability")


def _fit_path(chunks: Sequence[Chunk], own_NC: torch.Tensor) -> torch.Tensor:
    n, classes = own_NC.shape
    x, folds = joined((c.x_BD for c in chunks), n), joined((c.folds_B for c in chunks), n)
    if int((own_NC.sum(0) > 0).sum()) == 1:  # one label tells nothing: every class stays as likely as the others
        return torch.zeros(len(STRENGTHS), x.shape[1], NUM_FOLDS, classes)
    return fit_heads(x, own_NC[:, None], fold_masks(folds.numpy(), NUM_FOLDS), STRENGTHS)


def _path(labels_B: torch.Tensor, look: Look, best: int) -> dict[str, torch.Tensor]:
    """Surprise and margin along the path, and how the margin moves: the area under the margin of Pleiss et al. 2020."""
    margins_BS = torch.stack([log_margin(log_probs_BC, labels_B) for log_probs_BC in look.log_probs_BSC.unbind(1)], 1)
    columns = {}
    for s, name in enumerate(("early", "strong", "middle", "weak")):
        columns[f"{name}_surprise"] = -pick(look.log_probs_BSC[:, s], labels_B).clamp_min(_LOG_FLOOR)
        columns[f"{name}_margin"] = margins_BS[:, s]
    columns["best_margin"] = margins_BS[:, best]
    columns["margin_mean"] = margins_BS.mean(1)
    columns["margin_std"] = margins_BS.std(1, correction=0)
    columns["margin_rise"] = margins_BS[:, WEAK] - margins_BS[:, EARLY]
    return columns


def label_shares(labels_BJ: torch.Tensor, classes: int) -> torch.Tensor:
    """How often each label occurs in a row of labels, float32[B, C], summing to 1."""
    num_rows, k = labels_BJ.shape
    return torch.zeros(num_rows, classes).scatter_add_(1, labels_BJ, torch.full((num_rows, k), 1.0 / k))


def pick(values_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """The value of each row's label, float32[B]."""
    return values_BC.gather(1, labels_B[:, None]).squeeze(1)


def others(values_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """The values with each row's own label at minus infinity."""
    return values_BC.scatter(1, labels_B[:, None], -torch.inf)


def log_margin(log_probs_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """log p(label) - log p(best other label), both floored at log 1e-4, float32[B]."""
    floored = log_probs_BC.clamp_min(_LOG_FLOOR)
    return pick(floored, labels_B) - others(floored, labels_B).amax(1)

"""What others say of the same rows: badness of every row by the rankings the judge must stand beside.

All get the same vectors and the same audited rows; each uses of them what its paper asks for.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from torch.nn.functional import cross_entropy, log_softmax, normalize, one_hot

from agents.gate import average_precision
from agents.given import STRENGTHS, STRONG
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs

__all__ = ["Bench", "cleanlab_badness", "oof_probabilities", "peers", "truth_head"]

_SHAPLEY_NEIGHBOURS = 10
_BOOTSTRAPS = 30
_AUM_EPOCHS, _AUM_WIDTH = 8, 128
_DVRL_STEPS, _DVRL_BATCH, _DVRL_INNER = 300, 1_000, 30


class Bench:
    """One set. x: float32[n, d + 1] as the judge places it; folds, given, truth: int64[n]; audited: bool[n]."""

    def __init__(
        self,
        x: torch.Tensor,
        folds: torch.Tensor,
        given: np.ndarray,
        truth: np.ndarray,
        audited: np.ndarray,
        classes: int,
    ):
        self.x, self.folds, self.classes = x, folds, classes
        self.given, self.truth, self.audited = given, truth, audited
        self.own = one_hot(torch.from_numpy(given), classes).float()

    @property
    def bad(self) -> np.ndarray:
        return self.given != self.truth


def peers(bench: Bench, seed: int) -> dict[str, np.ndarray]:
    """Badness float64[n] by name; higher is worse."""
    warnings.filterwarnings("ignore", module="cleanlab")
    probabilities = oof_probabilities(bench)
    rows = np.arange(len(bench.given))
    return {
        "random": np.random.default_rng(seed).random(len(rows)),
        "self-confidence": -probabilities[STRONG][rows, bench.given],
        "cleanlab, best of 12 settings": cleanlab_badness(bench, probabilities),
        "kNN-Shapley": _knn_shapley(bench),
        "Data-OOB": _data_oob(bench, seed),
        "AUM": _aum(bench, seed),
        "DVRL": _dvrl(bench, seed),
        "head on audited rows only": -truth_head(bench)[rows, bench.given],
        "oracle": bench.bad.astype(np.float64),
    }


def oof_probabilities(bench: Bench) -> np.ndarray:
    """Out-of-fold at every strength of the judge's heads, float64[S, n, C]."""
    heads = fit_heads(bench.x, bench.own[:, None], fold_masks(bench.folds.numpy(), 5), STRENGTHS)
    return head_log_probs(bench.x, heads, bench.folds).permute(1, 0, 2).double().softmax(2).numpy()


def truth_head(bench: Bench) -> np.ndarray:
    """Log-probabilities of a head fitted on the audited rows' truths alone, float64[n, C]."""
    targets = one_hot(torch.from_numpy(bench.truth), bench.classes).float()[bench.audited, None]
    head = fit_heads(bench.x[bench.audited], targets, torch.ones(len(targets), 1), (3e-2, 3e-3))[-1, :, 0]
    return (bench.x @ head).double().log_softmax(1).numpy()


def cleanlab_badness(bench: Bench, probabilities: np.ndarray) -> np.ndarray:
    """Four strengths and three scores; the best by average precision, chosen with the truth in hand."""
    settings = (("self_confidence", False), ("normalized_margin", False), ("normalized_margin", True))
    found = [
        -get_label_quality_scores(bench.given, probs, method=method, adjust_pred_probs=adjust)
        for probs in probabilities
        for method, adjust in settings
    ]
    fresh = ~bench.audited
    return max(found, key=lambda badness: average_precision(badness[fresh], bench.bad[fresh]))


def _knn_shapley(bench: Bench) -> np.ndarray:
    """Jia et al., VLDB 2019, theorem 1: exact Shapley values of a nearest-neighbour classifier of the audited rows."""
    unit = normalize(bench.x[:, :-1]).numpy()
    n, k = len(unit), _SHAPLEY_NEIGHBOURS
    value = np.zeros(n)
    step = np.minimum(k, np.arange(1, n)) / (k * np.arange(1, n))
    for row in np.flatnonzero(bench.audited):
        order = np.argsort(-(unit @ unit[row]))
        order = order[order != row]
        match = (bench.given[order] == bench.truth[row]).astype(np.float64)
        shares = np.empty(n - 1)
        shares[-1] = match[-1] / (n - 1)
        falls = (match[:-1] - match[1:]) * step[: n - 2]
        shares[:-1] = shares[-1] + np.cumsum(falls[::-1])[::-1]
        value[order] += shares
    return -value


def _data_oob(bench: Bench, seed: int) -> np.ndarray:
    """Kwon & Zou, ICML 2023: how often bootstrapped models that left the row out agree with its label; linear heads."""
    rng, n = np.random.default_rng(seed), len(bench.given)
    counts = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(_BOOTSTRAPS)], 1)
    heads = fit_heads(bench.x, bench.own[:, None], torch.from_numpy(counts).float(), (3e-2, 3e-3))[-1]
    agrees = np.zeros((n, _BOOTSTRAPS))
    for b in range(_BOOTSTRAPS):
        agrees[:, b] = (bench.x @ heads[:, b]).softmax(1).numpy()[np.arange(n), bench.given]
    out = counts == 0
    return -(agrees * out).sum(1) / np.maximum(out.sum(1), 1)


def _aum(bench: Bench, seed: int) -> np.ndarray:
    """Pleiss et al., NeurIPS 2020: the margin of the given label, averaged over the epochs of a small network."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(bench.x.shape[1], _AUM_WIDTH), torch.nn.ReLU(), torch.nn.Linear(_AUM_WIDTH, bench.classes)
    )
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    given, total = torch.from_numpy(bench.given), torch.zeros(len(bench.given))
    for _ in range(_AUM_EPOCHS):
        with torch.enable_grad():
            for batch in torch.randperm(len(given)).split(256):
                optimiser.zero_grad()
                cross_entropy(net(bench.x[batch]), given[batch]).backward()
                optimiser.step()
        logits = net(bench.x)
        own = logits.gather(1, given[:, None])
        total += (own - logits.scatter(1, given[:, None], -torch.inf).amax(1, keepdim=True)).squeeze(1)
    return -total.numpy().astype(np.float64)


def _dvrl(bench: Bench, seed: int) -> np.ndarray:
    """Yoon, Arik & Pfister, ICML 2020: an estimator of row values by REINFORCE on the loss of audited rows.

    The predictor is a softmax head; its reward is the fall of the audited loss below a moving average. 300 steps: the
    paper takes 2,000, which changes little here (its ranking stays near random on label noise).
    """
    torch.manual_seed(seed)
    x, given = bench.x, torch.from_numpy(bench.given)
    audited, truth = torch.from_numpy(np.flatnonzero(bench.audited)), torch.from_numpy(bench.truth)
    seen = torch.cat([x, bench.own, (bench.own - torch.from_numpy(truth_head(bench)).exp().float()).abs()], 1)
    estimator = torch.nn.Sequential(torch.nn.Linear(seen.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimiser = torch.optim.Adam(estimator.parameters(), 1e-3)
    usual = None
    for _ in range(_DVRL_STEPS):
        batch = torch.randint(0, len(given), (_DVRL_BATCH,))
        with torch.enable_grad():
            logits = estimator(seen[batch]).squeeze(1)
            chosen = torch.bernoulli(logits.sigmoid().detach())
            loss = _audited_loss(x, given, batch[chosen > 0], audited, truth, bench.classes)
            usual = loss if usual is None else 0.9 * usual + 0.1 * loss
            chance = torch.distributions.Bernoulli(logits=logits).log_prob(chosen).sum()
            optimiser.zero_grad()
            ((loss - usual) * chance).backward()
            optimiser.step()
    return -estimator(seen).squeeze(1).numpy().astype(np.float64)


def _audited_loss(
    x: torch.Tensor, given: torch.Tensor, rows: torch.Tensor, audited: torch.Tensor, truth: torch.Tensor, classes: int
) -> float:
    with torch.no_grad():
        targets = one_hot(given[rows], classes).float()[:, None]
        head = fit_heads(x[rows], targets, torch.ones(len(rows), 1), (1e-2,), steps=_DVRL_INNER)[0, :, 0]
        return float(-log_softmax(x[audited] @ head, 1).gather(1, truth[audited, None]).mean())

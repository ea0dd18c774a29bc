"""A student: an observer and a policy fitted to one set of trusted rows; first the prior, then rounds of improvement.

Knows the rows learned from and the trusted rows it is given; nothing of audits or promises.

Legend: N rows learned from, ascending by id; T trusted rows among them; D vector length with bias, C classes, A
actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch.nn.functional import one_hot

from agents.corruption import SelfCorruption
from agents.credit import head_gradient, local_credit
from agents.determinism import NUM_FOLDS, fold_of
from agents.given import EARLY, STRENGTHS, STRONG, GivenView, pick
from agents.learned_policy import LearnedPolicy, improve
from agents.observation import Observation, Observer
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs
from agents.proxy.neighbours import Neighbours, Reference
from agents.reward import audited_reward, critic_reward
from agents.scorer import fit_logistic
from agents.space import Chunk, Space, joined
from agents.trusted import TrustedView
from agents.types import Rows
from curator.verdict import KEEP, RELABEL

__all__ = ["Desk", "Round", "Student"]

INVERSE_RIDGE: Final = 0.02
"""C of the audited scorer: up to a thousand audits a strong ridge wins everywhere."""
_SCALE_INVERSE_RIDGE: Final = 1.0
AUDIT_WEIGHT: Final = 0.25
"""Audited rows already made the prior; in the rounds they only steady it."""
_FIRST_LEASH: Final = 16.0


@dataclass(frozen=True)
class Desk:
    """What every student shares: N usable rows, placed, with their neighbours and what their given labels say."""

    rows: Rows
    space: Space
    chunks: Sequence[Chunk]
    reference: Reference
    near: Sequence[Neighbours]
    given: GivenView
    corruption: SelfCorruption
    can_relabel: bool

    @staticmethod
    def lay(rows: Rows, classes: int, can_relabel: bool, seed: int) -> Desk:
        """rows: N ≥ 2, ascending by id, each with a vector and a label."""
        n, labels = len(rows), torch.from_numpy(rows.labels)
        space = Space.fit(rows, seed)
        chunks = space.place_all(rows)
        reference = Reference(joined((c.unit_BE for c in chunks), n), torch.from_numpy(rows.ids))
        near = [reference.nearest(c.unit_BE, c.keys) for c in chunks]
        given = GivenView.fit(chunks, near, labels, classes)
        corruption = SelfCorruption.fit(given, chunks, near, rows.ids, seed)
        return Desk(rows, space, chunks, reference, near, given, corruption, can_relabel)

    def part(self, at: np.ndarray) -> Desk:
        """The rows at `at` (positions, ascending) alone; what was learned of given labels stays that of all rows."""
        rows = self.rows.take(at)
        chunks = self.space.place_all(rows)
        return replace(self, rows=rows, chunks=chunks, near=[self.reference.nearest(c.unit_BE, c.keys) for c in chunks])

    def observer(self, at_T: np.ndarray, truth_T: np.ndarray) -> Observer:
        """Sees the truths of the rows at at_T (positions, ascending); without any, there is no trusted view."""
        trusted = None
        if len(at_T):
            looks = [self.given.look(c, j) for c, j in zip(self.chunks, self.near, strict=True)]
            trusted = TrustedView.fit(
                self.chunks, looks, self.rows.ids, torch.from_numpy(at_T), torch.from_numpy(truth_T)
            )
        nothing = torch.zeros(0)
        bare = Observer(self.space, self.reference, self.given, self.corruption, trusted, nothing, nothing)
        return bare.standardised(self.chunks, self.near, len(self.rows))

    def observe(self, observer: Observer) -> Observation:
        """All N rows."""
        parts = [observer.observe(c, j) for c, j in zip(self.chunks, self.near, strict=True)]
        return Observation(
            *(joined([getattr(part, name) for part in parts], len(self.rows)) for name in vars(parts[0]))
        )


@dataclass(frozen=True)
class Round:
    """One round of improvement: mean gain of the paired reward (nats per trusted row) and whether it was accepted."""

    gain: float
    accepted: bool
    leash: float


@dataclass(frozen=True)
class Student:
    """Fitted to T trusted rows. seen: the N rows through its observer. prior: ships unless the rounds earn more."""

    desk: Desk
    at_T: np.ndarray
    truth_T: np.ndarray
    observer: Observer
    seen: Observation
    prior: LearnedPolicy

    @staticmethod
    def taught(desk: Desk, at_T: np.ndarray, truth_T: np.ndarray) -> Student:
        """With the audited linear scorer as prior; T ≥ 2."""
        observer = desk.observer(at_T, truth_T)
        seen = desk.observe(observer)
        bad_T = (desk.rows.labels[at_T] != truth_T).astype(np.float64)
        weights = _audited_scorer(seen.state_BF[at_T].numpy(), bad_T, fold_of(desk.rows.ids[at_T], desk.space.seed))
        return Student(desk, at_T, truth_T, observer, seen, _policy(weights, seen, desk.can_relabel))

    @staticmethod
    def untaught(desk: Desk) -> Student:
        """With the self-corruption scorer as prior, shifted so that P(bad) averages the visible noise, if any."""
        none = np.zeros(0, np.int64)
        observer = desk.observer(none, none)
        seen = desk.observe(observer)
        noise = desk.given.visible_noise()
        shift = 0.0 if noise is None else _shift_to_mean(seen.anchor_B.double(), noise)
        weights = np.zeros(seen.state_BF.shape[1] + 1)
        column = len(observer.mean_F) - 1
        if float(observer.scale_F[column]):
            weights[column] = 1.0 / float(observer.scale_F[column])
        weights[-1] = float(observer.mean_F[column]) + shift
        return Student(desk, none, none, observer, seen, _policy(weights, seen, desk.can_relabel))

    def improved(self, rounds: int) -> tuple[LearnedPolicy, list[Round]]:
        """The policy after the rounds that raised the paired reward, and what each round did.

        A round: credit at the early head of the rows as the policy would have them, a step of the residual towards it,
        and a new head for the rows as the new policy would have them. A round whose head predicts the trusted truths
        worse is undone and the leash to the prior doubled. Heads start alike and see the same folds, so rewards are
        paired.
        """
        policy, leash, history = self.prior, _FIRST_LEASH, []
        early_NC, reward = self._head(policy)
        for _ in range(rounds):
            tried = self._step(policy, early_NC, leash)
            tried_early_NC, tried_reward = self._head(tried)
            gain = float((tried_reward - reward).mean())
            history.append(Round(gain, gain > 0, leash))
            if gain > 0:
                policy, early_NC, reward = tried, tried_early_NC, tried_reward
            else:
                leash *= 2
        return policy, history

    def _step(self, policy: LearnedPolicy, early_NC: torch.Tensor, leash: float) -> LearnedPolicy:
        given_N, proposal_N = torch.from_numpy(self.desk.rows.labels), self.seen.proposal_B
        reward = critic_reward(self._credit(early_NC, given_N), self._credit(early_NC, proposal_N))
        truth_T, at_T = torch.from_numpy(self.truth_T), torch.from_numpy(self.at_T)
        audited = audited_reward(given_N[at_T] == truth_T, proposal_N[at_T] == truth_T)
        return improve(policy, self.seen, reward, at_T, audited, audit_weight=AUDIT_WEIGHT, leash=leash)

    def _credit(self, early_NC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
        assert self.observer.trusted is not None
        trusted_TC = head_gradient(early_NC[self.at_T], torch.from_numpy(self.truth_T))
        gradient_NC = head_gradient(early_NC, labels_N)
        parts, start = [], 0
        for chunk in self.desk.chunks:
            rows = gradient_NC[start : start + len(chunk.keys)]
            weights_BT = self.observer.trusted.nearby(chunk)[: len(rows)]
            parts.append(local_credit(rows, weights_BT, trusted_TC))
            start += len(chunk.keys)
        return torch.cat(parts)

    def _head(self, policy: LearnedPolicy) -> tuple[torch.Tensor, torch.Tensor]:
        """Out-of-fold heads on the rows as the policy would have them: early log-probabilities and the reward.

        float32[N, C] and log p(truth) float32[T]. A text row has no label to predict: there the early head stays
        uniform and the reward 0.
        """
        desk, n = self.desk, len(self.desk.rows)
        classes = len(desk.given.typical_C)
        if not desk.can_relabel:
            return torch.full((n, classes), -float(np.log(classes))), torch.zeros(len(self.at_T))
        pi_NA = policy.log_probs(self.seen).exp()
        kept_N1, relabelled_N1 = pi_NA[:, KEEP, None], pi_NA[:, RELABEL, None]
        targets = kept_N1 * one_hot(torch.from_numpy(desk.rows.labels), classes) + relabelled_N1 * one_hot(
            self.seen.proposal_B, classes
        )
        mass_N1 = (kept_N1 + relabelled_N1).clamp_min(1e-6)
        folds = joined([c.folds_B for c in desk.chunks], n)
        masks = fold_masks(folds.numpy(), NUM_FOLDS) * mass_N1
        x = joined([c.x_BD for c in desk.chunks], n)
        heads = fit_heads(x, (targets / mass_N1)[:, None], masks, (STRENGTHS[EARLY], STRENGTHS[STRONG]))
        log_probs = head_log_probs(x, heads, folds)
        return log_probs[:, 0], pick(log_probs[self.at_T, 1], torch.from_numpy(self.truth_T))


def _policy(weights: np.ndarray, seen: Observation, can_relabel: bool) -> LearnedPolicy:
    return LearnedPolicy(torch.from_numpy(weights).float(), torch.zeros(seen.state_BF.shape[1], 3), can_relabel)


def _audited_scorer(state_TF: np.ndarray, bad_T: np.ndarray, folds_T: np.ndarray) -> np.ndarray:
    """Ridge logistic weights on audited rows, their log-odds then stretched (Platt 1999) on cross-fitted log-odds.

    The strong ridge ranks best but shrinks P(bad) to the base rate; the stretch makes it a probability and ranks alike.
    """
    weights = fit_logistic(state_TF, bad_T, INVERSE_RIDGE)
    odds = np.zeros(len(bad_T))
    for fold in np.unique(folds_T):
        mine = folds_T == fold
        apart = fit_logistic(state_TF[~mine], bad_T[~mine], INVERSE_RIDGE)
        odds[mine] = state_TF[mine] @ apart[:-1] + apart[-1]
    slope, shift = fit_logistic(odds[:, None], bad_T, _SCALE_INVERSE_RIDGE)
    weights = weights * max(slope, 0.1)
    weights[-1] += shift
    return weights


def _shift_to_mean(odds: torch.Tensor, mean: float) -> float:
    """The shift of log-odds that makes their probabilities average `mean`, within ±30."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float((odds + middle).sigmoid().mean()) < mean else (low, middle)
    return (low + high) / 2

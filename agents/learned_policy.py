"""The policy: a belief about the row, turned into probabilities of keep, drop and relabel, plus a learned residual.

A contextual bandit with dense rewards, so the expectation over three actions is exact: nothing is sampled, nothing
replayed. Knows states and rewards; nothing of rows, thresholds or where rewards come from.

Legend: B rows, F numbers of the state, A = 3 actions in the order of `curator.verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch

from agents.observation import Observation
from curator.stopping import hear
from curator.verdict import KEEP, RELABEL

__all__ = ["LearnedPolicy", "improve"]

_STEPS: Final = 150
_STEP_SIZE: Final = 0.01
_WEIGHT_DECAY: Final = 1e-2
_ENTROPY: Final = 0.02
_NEVER: Final = -30.0


@dataclass(frozen=True)
class LearnedPolicy:
    """prior_F1: weights and intercept of the log-odds that a row is bad. residual_FA: zero until RL has earned it.

    can_relabel: False where there is no other label to propose (text).
    """

    prior_F1: torch.Tensor
    residual_FA: torch.Tensor
    can_relabel: bool

    def log_probs(self, seen: Observation) -> torch.Tensor:
        """log π(action | row), float32[B, A].

        The prior π₀ is the belief itself: keep if the label is right; if it is wrong, relabel as far as the proposal is
        believed, else drop.
        """
        return (self.prior_logits(seen) + seen.state_BF @ self.residual_FA).log_softmax(1)

    def prior_logits(self, seen: Observation) -> torch.Tensor:
        """log π₀, float32[B, A]."""
        odds = seen.state_BF @ self.prior_F1[:-1] + self.prior_F1[-1]
        good, bad = torch.nn.functional.logsigmoid(-odds), torch.nn.functional.logsigmoid(odds)
        if not self.can_relabel:
            return torch.stack([good, bad, torch.full_like(good, _NEVER)], 1)
        chance = seen.chance_B.clamp(1e-6, 1 - 1e-6)
        return torch.stack([good, bad + torch.log1p(-chance), bad + chance.log()], 1)

    def badness(self, seen: Observation) -> torch.Tensor:
        """P(not keep), float32[B]: the ranking."""
        return self.beliefs(seen)[0]

    def beliefs(self, seen: Observation) -> tuple[torch.Tensor, torch.Tensor]:
        """(badness, π(relabel)), each float32[B]."""
        log_pi_BA = self.log_probs(seen)
        return -torch.expm1(log_pi_BA[:, KEEP]).clamp_max(0.0), log_pi_BA[:, RELABEL].exp()


def improve(
    policy: LearnedPolicy,
    seen: Observation,
    reward_BA: torch.Tensor,
    audited_at: torch.Tensor,
    audited_reward: torch.Tensor,
    *,
    audit_weight: float,
    leash: float,
) -> LearnedPolicy:
    """The policy after one round: its residual moved towards reward, held near the prior.

    Minimises over the residual  - mean_s Σ_a π r̂  - audit_weight · mean_audited Σ_a π r  + leash · KL(π ‖ π₀) - η
    H(π), Adam at a fixed number of full-batch steps. reward_BA: critic's rewards; audited_reward: of rows audited_at.
    """
    prior = policy.prior_logits(seen).log_softmax(1)
    theta = policy.residual_FA.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([theta], lr=_STEP_SIZE, weight_decay=_WEIGHT_DECAY)
    for _ in range(_STEPS):
        hear()
        with torch.enable_grad():
            log_pi = (prior + seen.state_BF @ theta).log_softmax(1)
            pi = log_pi.exp()
            gain = (pi * reward_BA).sum(1).mean()
            audited = (pi[audited_at] * audited_reward).sum(1).mean()
            distance = (pi * (log_pi - prior)).sum(1).mean()
            entropy = -(pi * log_pi).sum(1).mean()
            loss = -gain - audit_weight * audited + leash * distance - _ENTROPY * entropy
        (theta.grad,) = torch.autograd.grad(loss, theta)
        optimiser.step()
    return replace(policy, residual_FA=theta.detach())

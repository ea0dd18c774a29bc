"""What an action on a row is worth to training, row by row: audited where the truth is known, a local critic elsewhere.

A reward is what the row then adds: +1 with a right label, -2 with a wrong one, 0 when it is not there. So a row is
worth keeping while P(bad) < 1/3. Knows nothing of policies.

Columns of every reward: keep, drop, relabel, the codes of `curator.verdict`.
"""

from __future__ import annotations

from typing import Final

import torch

from curator.verdict import DROP, KEEP, RELABEL
from curator.worth import RIGHT, WRONG

__all__ = ["BREAK_EVEN", "audited_reward", "critic_reward"]

BREAK_EVEN: Final = RIGHT / (RIGHT - WRONG)
"""P(bad) above which dropping beats keeping."""
_CREDIT_LIMIT: Final = 3.0


def audited_reward(given_right_B: torch.Tensor, proposal_right_B: torch.Tensor) -> torch.Tensor:
    """float32[B, 3] where the truth is known; both arguments bool[B]."""
    reward = torch.zeros(len(given_right_B), 3)
    reward[:, KEEP] = torch.where(given_right_B, RIGHT, WRONG)
    reward[:, RELABEL] = torch.where(proposal_right_B, RIGHT, WRONG)
    return reward


def critic_reward(credit_given_B: torch.Tensor, credit_proposal_B: torch.Tensor) -> torch.Tensor:
    """float32[B, 3] from local gradient credit, in units of the mean absolute credit of the given labels, within ±3.

    Dropping is worth 0: what is not trained on moves no gradient.
    """
    unit = credit_given_B.abs().mean().clamp_min(1e-12)
    reward = torch.zeros(len(credit_given_B), 3)
    reward[:, KEEP] = credit_given_B / unit
    reward[:, DROP] = 0.0
    reward[:, RELABEL] = credit_proposal_B / unit
    return reward.clamp(-_CREDIT_LIMIT, _CREDIT_LIMIT)

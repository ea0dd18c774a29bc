"""The state: what the policy sees of a row, in one fixed, versioned order of standardised numbers.

Every learned number is out-of-fold. Knows nothing of actions, rewards or thresholds.

Legend: B rows of a chunk, N rows learned from, T trusted-learning rows, F numbers of the state, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch.nn.functional import one_hot

from agents.corruption import SelfCorruption
from agents.given import GivenView, Look, others
from agents.proxy.neighbours import Neighbours, Reference
from agents.space import Chunk, Space, joined
from agents.trusted import TrustedView

__all__ = ["STATE_VERSION", "Observation", "Observer"]

STATE_VERSION: Final = "1"
_CLASS_SCALE: Final = 0.5
_ANCHORS: Final = {"self_corruption": 2.0, "trusted_hidden_bad_odds": 5.0}
"""Scales of columns that are answers by themselves: the ridge hardly holds them back, so few audits lean on them."""


@dataclass(frozen=True)
class Observation:
    """state_BF: standardised. anchor_B: self-corruption log-odds of bad. proposal_B: the best label but the given one.

    chance_B: the probability that the proposal is right if the given label is wrong.
    """

    state_BF: torch.Tensor
    anchor_B: torch.Tensor
    proposal_B: torch.Tensor
    chance_B: torch.Tensor


@dataclass(frozen=True)
class Observer:
    """Fitted once on a bounded sample; observes any row after. trusted is None without enough trusted rows.

    mean_F, scale_F: of the state's numbers over the sample; a number that never varies has scale 0.
    """

    space: Space
    reference: Reference
    given: GivenView
    corruption: SelfCorruption
    trusted: TrustedView | None
    mean_F: torch.Tensor
    scale_F: torch.Tensor

    def observe(self, chunk: Chunk, near: Neighbours | None = None) -> Observation:
        """One chunk; near: its neighbours, where already known."""
        look = self.look(chunk, near)
        columns = self.columns(chunk, look)
        numbers_BF = (torch.stack(list(columns.values()), 1) - self.mean_F) * self.scale_F
        classes_BC = one_hot(chunk.labels_B, len(self.given.typical_C)) * _CLASS_SCALE
        state_BF = torch.cat([numbers_BF, classes_BC], 1)
        return Observation(state_BF, columns["self_corruption"], *self._proposal(chunk, look))

    def look(self, chunk: Chunk, near: Neighbours | None = None) -> Look:
        """What all views share of a chunk."""
        near = self.reference.nearest(chunk.unit_BE, chunk.keys) if near is None else near
        return self.given.look(chunk, near)

    def columns(self, chunk: Chunk, look: Look) -> dict[str, torch.Tensor]:
        """The state's numbers before standardising, each float32[B], in the order of STATE_VERSION."""
        given = self.given.features(chunk.labels_B, look)
        rules_BF = self.space.signal_ranks(chunk.signals_BF)
        rules = {f"signal_{i}": rules_BF[:, i] for i in range(rules_BF.shape[1])}
        trusted = {} if self.trusted is None else self.trusted.features(chunk, look)
        anchor = self.corruption.log_odds(torch.stack(list(given.values()), 1))
        return (
            given
            | rules
            | {f"trusted_{name}": column for name, column in trusted.items()}
            | {"self_corruption": anchor}
        )

    def standardised(self, chunks: Sequence[Chunk], near: Sequence[Neighbours], n: int) -> Observer:
        """This observer with mean and scale taken over the n rows learned from."""
        parts = [self.columns(c, self.look(c, j)) for c, j in zip(chunks, near, strict=True)]
        numbers = joined((torch.stack(list(part.values()), 1) for part in parts), n).double()
        spread = numbers.std(0, correction=0)
        scale = torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), 0.0)
        scale *= torch.tensor([_ANCHORS.get(name, 1.0) for name in parts[0]])
        return replace(self, mean_F=numbers.mean(0).float(), scale_F=scale.float())

    def _proposal(self, chunk: Chunk, look: Look) -> tuple[torch.Tensor, torch.Tensor]:
        belief_BC = look.log_probs_BSC[:, self.given.best].exp()
        if self.trusted is not None:
            belief_BC = self.trusted.truth_posterior(chunk)
        other_BC = others(belief_BC, chunk.labels_B).clamp_min(0.0)
        best = other_BC.max(1)
        return best.indices, best.values / other_BC.sum(1).clamp_min(1e-12)

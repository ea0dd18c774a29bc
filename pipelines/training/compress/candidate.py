"""A model on its way through the chain, and how its weights are stored.

Knows models, weights and the compact file; nothing of steps, gates or held-out rows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.compact import CompactHeader, packed
from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.structure import shape_of
from pipelines.training.compress.weights import Weight, plan_of, stored, widened
from pipelines.training.kinds import TextClassifier

__all__ = ["Candidate", "planned", "quantised", "with_weights"]


@dataclass(frozen=True)
class Candidate:
    """A model and how its weights are stored; the model computes with their widened values."""

    trained: TrainedModel
    weights: dict[str, Weight]

    @classmethod
    def of(cls, trained: TrainedModel) -> Candidate:
        tensors = trained.model.state_dict()
        return cls(trained, {name: stored(tensor, "fp32") for name, tensor in tensors.items()})

    @property
    def header(self) -> CompactHeader:
        return CompactHeader(
            recipe=self.trained.recipe,
            classes=self.trained.classes,
            shape=shape_of(self.trained.model),
            plan={name: weight.precision for name, weight in self.weights.items()},
        )

    @property
    def file(self) -> bytes:
        return packed(self.header, self.weights)

    @property
    def context(self) -> int | None:
        recipe = self.trained.recipe
        return recipe.context if isinstance(recipe, TextClassifier) else None


def quantised(candidate: Candidate, precision: Precision) -> Candidate:
    """The same model with all weights in a precision."""
    return planned(candidate, plan_of(widened(candidate.weights), precision))


def planned(candidate: Candidate, plan: Mapping[str, Precision]) -> Candidate:
    """The same model with each tensor in the plan's precision."""
    tensors = widened(candidate.weights)
    return with_weights(candidate.trained, {name: stored(tensor, plan[name]) for name, tensor in tensors.items()})


def with_weights(trained: TrainedModel, weights: dict[str, Weight]) -> Candidate:
    """The model computing with these weights."""
    model: Any = copy.deepcopy(trained.model)
    with torch.no_grad():
        model.load_state_dict(widened(weights))
    return Candidate(trained.model_copy(update={"model": model}), weights)

"""The closed list of reasons of a recipe. Knows operators' own lists and the policy's."""

from __future__ import annotations

from curator.recipe import Recipe
from curator.verdict import POLICY_REASONS

__all__ = ["reason_names"]


def reason_names(recipe: Recipe) -> tuple[str, ...]:
    """Its operators' reasons in the recipe's order, then the policy's; verdicts store positions in this list."""
    return tuple(dict.fromkeys([reason for op in recipe.process for reason in op.reasons] + list(POLICY_REASONS)))

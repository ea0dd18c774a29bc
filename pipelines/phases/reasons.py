"""The closed list of reasons of a recipe, as verdicts number them."""

from __future__ import annotations

from curator.recipe import Recipe

__all__ = ["reason_names"]


def reason_names(recipe: Recipe) -> tuple[str, ...]:
    """Its operators' reasons in the recipe's order, then the policy's; verdicts store positions in this list."""
    return tuple(recipe.reasons)

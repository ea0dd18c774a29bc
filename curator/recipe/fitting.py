"""Whether a recipe fits the data it is asked of: its columns are there, its roles apart, its policy can learn.

Knows names of columns; nothing of their types, which need the data itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from curator.errors import RecipeError
from curator.readers.written import WRITTEN
from curator.recipe.recipe import Recipe

__all__ = ["fitted", "require_learner"]

_APART: Final = {
    "text": (),
    "classification": (("text", "label"), ("image", "label"), ("id", "label")),
    "instruction": (("instruction", "input"), ("instruction", "output"), ("input", "output")),
}
"""Roles that cannot be one column: a label that is also the id or the content, an answer that is the question."""


def fitted(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with `id: auto` decided for data of these columns. Raises RecipeError for a column the data lacks, two
    roles in one, or one with a name that Winnow writes."""
    if recipe.columns.id == "auto":
        found = "id" if "id" in names else None
        recipe = recipe.model_copy(update={"columns": recipe.columns.model_copy(update={"id": found})})
    used = {f"columns.{role}": name for role, name in recipe.columns if name is not None}
    used |= {f"where.{name}": name for name in recipe.where}
    if recipe.url_column is not None:
        used["url_duplicates.column"] = recipe.url_column
    for place, name in used.items():
        if name in WRITTEN and name not in names:
            raise RecipeError(
                f"{place}: the data has no column {name!r} to use. Where an earlier run wrote it, it is set aside, "
                "since every run writes its own; name another column, or rename this one"
            )
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f", did you mean {close[0]!r}" if close else ""
            raise RecipeError(f"{place}: the data has no column {name!r}{hint}. It has: {', '.join(names)}.")
    _check_roles(recipe)
    for name in WRITTEN:
        if name in names:
            raise RecipeError(
                f"the data has a column {name!r}, a name Winnow writes itself, and what it holds is not what Winnow "
                "writes there (sample ids are 16 bytes or 32 hex digits); rename it and run again"
            )
    return recipe


def _check_roles(recipe: Recipe) -> None:
    for one, other in _APART[recipe.task]:
        name = getattr(recipe.columns, one)
        if name is not None and name == getattr(recipe.columns, other):
            raise RecipeError(f"columns.{one} and columns.{other} both name {name!r}; each needs a column of its own")


def require_learner(recipe: Recipe) -> None:
    """Raises RecipeError where feedback would teach nobody."""
    if recipe.policy.kind == "rules":
        raise RecipeError(
            "feedback teaches a policy, and policy.kind is 'rules'; set it to 'learned' or leave feedback out"
        )

"""Recipes at a server: kept under the hash of their content, tried out on some rows.

Knows addresses; checking one is `Client.check_recipe`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from curator.client.wire import Wire, id_of

__all__ = ["Recipes"]


class Recipes:
    """`client.recipes`. A kept recipe's id stands wherever a preset's name does."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def create(self, recipe: str | Mapping[str, Any], *, name: str = "") -> dict[str, Any]:
        """Keeps a recipe (or a preset as it is now); an equal one is the same. Raises RecipeError."""
        value = recipe if isinstance(recipe, str) else dict(recipe)
        return self._wire.create("/v1/recipes", {"recipe": value, "name": name})

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The shipped recipes, then the kept ones, newest first."""
        return self._wire.items("/v1/recipes", {}, limit)

    def get(self, recipe: str) -> dict[str, Any]:
        """One recipe, by its id, or a shipped one by its name."""
        return self._wire.get(f"/v1/recipes/{recipe}")

    def dry_run(
        self, dataset: str | Mapping[str, Any], recipe: str | Mapping[str, Any], *, rows: int = 1000
    ) -> dict[str, Any]:
        """What a run would say of the dataset's first rows: counts by action and reason, and examples. Raises
        RecipeError, InputError."""
        value = recipe if isinstance(recipe, str) else dict(recipe)
        return self._wire.post("/v1/recipes:dry-run", {"dataset": id_of(dataset), "recipe": value, "rows": rows})

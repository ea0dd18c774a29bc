"""/v1/recipes: the presets, and whether a recipe would be taken.

Parses and answers; `curator.recipe` judges.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Reader
from api.bodies import Body, View, routes_under
from api.replies import reply
from api.submission import resolved
from curator.recipe import load, preset_names

routes = routes_under("/v1", "recipes")


class RecipeView(View):
    """A whole recipe, defaults filled in, and its digest."""

    name: str | None
    digest: str
    recipe: dict[str, Any]


class Presets(View):
    items: tuple[RecipeView, ...]


class RecipeToCheck(Body):
    """A preset's name or a recipe; `columns` as a dataset would bring them."""

    recipe: str | dict[str, Any]
    columns: dict[str, str] = Field(default_factory=dict)


@routes.get("/recipes", response_model=Presets)
def list_presets(request: Request, caller: Reader) -> Response:
    """The shipped recipes."""
    return reply(request, Presets(items=tuple(_preset(name) for name in preset_names())))


@routes.get("/recipes/{name}", response_model=RecipeView)
def get_preset(request: Request, caller: Reader, name: str) -> Response:
    """One shipped recipe."""
    recipe = resolved(name, {}, None)
    return reply(request, RecipeView(name=name, digest=recipe.digest, recipe=recipe.model_dump(mode="json")))


@routes.post("/recipes:validate", response_model=RecipeView)
def validate_recipe(request: Request, caller: Reader, body: RecipeToCheck) -> Response:
    """The recipe as it would run; a 422 says what to correct. Nothing is stored."""
    recipe = resolved(body.recipe, body.columns, None)
    name = body.recipe if isinstance(body.recipe, str) else None
    return reply(request, RecipeView(name=name, digest=recipe.digest, recipe=recipe.model_dump(mode="json")))


def _preset(name: str) -> RecipeView:
    recipe = load(name)
    return RecipeView(name=name, digest=recipe.digest, recipe=recipe.model_dump(mode="json"))

"""/v1/recipes: what to do with data, kept under the hash of its content; the presets; trying one out on some rows.

Parses and answers; `curator.recipe` judges, `api/rehearsal.py` tries out.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Reader, Writer
from api.bodies import Body, View, routes_under
from api.once import create_once
from api.rehearsal import MOST_ROWS
from api.replies import reply
from api.service import service_of
from api.submission import ready_version, resolved
from curator.catalog import RecipeRow
from curator.digest import canonical_json, sha256_hex
from curator.errors import RecipeError
from curator.recipe import Recipe, fitted, load, preset_names

routes = routes_under("/v1", "recipes")

Columns = Annotated[dict[str, str], Field(max_length=20)]


class RecipeView(View):
    """A whole recipe, defaults filled in. `id` follows from its content, as `digest` does; `created_at`: when it was
    kept, null for presets and for one that was only checked."""

    id: str
    name: str | None
    digest: str
    recipe: dict[str, Any]
    created_at: dt.datetime | None


class RecipeList(View):
    items: tuple[RecipeView, ...]
    next_cursor: str | None


class RecipeToCheck(Body):
    """A preset's name, the id of a kept recipe, or a recipe; `columns` as a dataset would bring them."""

    recipe: str | dict[str, Any]
    columns: Columns = Field(default_factory=dict)


class NewRecipe(RecipeToCheck):
    """`name`: what people call it."""

    name: str = Field(default="", max_length=255)


class NewDryRun(Body):
    """`rows`: how many of the dataset's first rows (those that `where` picks) the recipe is tried on."""

    dataset: str
    recipe: str | dict[str, Any]
    rows: int = Field(default=1000, ge=1, le=MOST_ROWS)
    seed: int | None = Field(default=None, ge=0, lt=2**63)


class Example(View):
    """One row of its kind. `row`: its place in the dataset, from 0; `values`: its id and what was judged of it, `cut`
    the columns whose text is shown in part."""

    row: int
    reasons: tuple[str, ...]
    given_label: Any
    predicted_label: Any
    confidence: float | None
    difficulty: str | None
    values: dict[str, Any]
    cut: tuple[str, ...]


class Verdicts(View):
    """Rows with one action for one reason, null for none, and up to three of them."""

    action: str
    reason: str | None
    meaning: str | None
    rows: int
    examples: tuple[Example, ...]


class DryRun(View):
    """`rows_read`: the rows looked at; `rows`: those of them that `where` picked, which were judged."""

    dataset: str
    version: int
    recipe_id: str
    rows_read: int
    rows: int
    kept: int
    dropped: int
    relabeled: int
    verdicts: tuple[Verdicts, ...]
    difficulty: dict[str, int]
    policy: str
    warnings: tuple[str, ...]
    seconds: float


@routes.post("/recipes", status_code=201, response_model=RecipeView)
def create_recipe(request: Request, caller: Writer, body: NewRecipe) -> Response:
    """Keeps a recipe, as it would run. An equal one is the same: it keeps its first name."""
    service = service_of(request)
    recipe = resolved(service, caller.tenant, body.recipe, body.columns, None)

    def make(_: str) -> tuple[int, str, RecipeView]:
        value = recipe.model_dump(mode="json")
        row = service.catalog.recipes.keep(caller.tenant, recipe.id, value, name=body.name)
        return 201, f"/v1/recipes/{row.id}", _kept(row)

    return create_once(request, caller, body, "rcp", make)


@routes.get("/recipes", response_model=RecipeList)
def list_recipes(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's recipes, newest first, at most `limit`; the shipped ones come before them on the first page."""
    page = service_of(request).catalog.recipes.page(caller.tenant, cursor=cursor, limit=limit)
    presets = [_view(load(name), name) for name in preset_names()] if cursor is None else []
    return reply(request, RecipeList(items=(*presets, *map(_kept, page.items)), next_cursor=page.next_cursor))


@routes.get("/recipes/{recipe_id}", response_model=RecipeView)
def get_recipe(request: Request, caller: Reader, recipe_id: str) -> Response:
    """One recipe, by its id, or a shipped one by its name."""
    if recipe_id in preset_names():
        return reply(request, _view(load(recipe_id), recipe_id))
    return reply(request, _kept(service_of(request).catalog.recipes.get(caller.tenant, recipe_id)))


@routes.post("/recipes:validate", response_model=RecipeView)
def validate_recipe(request: Request, caller: Reader, body: RecipeToCheck) -> Response:
    """The recipe as it would run; a 422 says what to correct. Nothing is kept."""
    recipe = resolved(service_of(request), caller.tenant, body.recipe, body.columns, None)
    return reply(request, _view(recipe, body.recipe if isinstance(body.recipe, str) else None))


@routes.post("/recipes:dry-run", response_model=DryRun)
def dry_run_recipe(request: Request, caller: Writer, body: NewDryRun) -> Response:
    """What a run of the recipe would say of a dataset's first rows, and nothing made of it. Duplicates are looked for,
    difficulties ranked and a policy learned among those rows alone; trusted samples are for runs."""
    service = service_of(request)
    dataset, version = ready_version(service.catalog, caller.tenant, body.dataset)
    recipe = resolved(service, caller.tenant, body.recipe, dataset.columns, body.seed)
    if recipe.against is not None:
        raise RecipeError("against: a dry run compares with no earlier run; leave `against` out")
    fitted(recipe, list(version.columns or {}))  # what the process would find out, said before one is started
    found = service.rehearsals.tried(caller.tenant, version, recipe, body.rows)
    return reply(request, DryRun(dataset=dataset.id, version=version.number, recipe_id=recipe.id, **found))


def _view(recipe: Recipe, name: str | None) -> RecipeView:
    value = recipe.model_dump(mode="json")
    return RecipeView(id=recipe.id, name=name, digest=recipe.digest, recipe=value, created_at=None)


def _kept(row: RecipeRow) -> RecipeView:
    digest = sha256_hex(canonical_json(row.recipe))
    return RecipeView(id=row.id, name=row.name or None, digest=digest, recipe=row.recipe, created_at=row.created_at)

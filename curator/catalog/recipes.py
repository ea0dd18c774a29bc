"""Recipes a tenant keeps: named by their content, so that an equal one is the same row and a kept one never changes.

Knows nothing of what a recipe says; whoever keeps one has judged it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema_recipes import recipes
from curator.errors import NotFoundError

__all__ = ["RecipeRow", "Recipes"]


class RecipeRow(BaseModel):
    """`name`: what it was called when it was kept first; empty for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    id: str
    name: str
    recipe: dict[str, Any]
    created_at: dt.datetime


_COLUMNS = [recipes.c[name] for name in RecipeRow.model_fields]


class Recipes:
    def __init__(self, database: Database):
        self._db = database

    def keep(self, tenant: str, recipe_id: str, recipe: Mapping[str, Any], *, name: str = "") -> RecipeRow:
        """The recipe's row; the same id again is the same row, whatever it is called this time."""
        values = {"tenant": tenant, "id": recipe_id, "name": name, "recipe": dict(recipe), "created_at": now()}
        with self._db.write() as connection:
            insert_new(connection, recipes, **values)
            return _row(connection, tenant, recipe_id)

    def get(self, tenant: str, recipe_id: str) -> RecipeRow:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _row(connection, tenant, recipe_id)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[RecipeRow]:
        """The tenant's recipes, newest first."""
        query = sa.select(*_COLUMNS).where(recipes.c.tenant == tenant).order_by(recipes.c.number.desc())
        if cursor is not None:
            query = query.where(recipes.c.number < decode_cursor(cursor, [int])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [RecipeRow(**row) for row in rows]
        return page_of(found, limit, lambda row: (row.number,))


def _row(connection: sa.Connection, tenant: str, recipe_id: str) -> RecipeRow:
    query = sa.select(*_COLUMNS).where(recipes.c.tenant == tenant, recipes.c.id == recipe_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no recipe {recipe_id!r}; check the id and the credential")
    return RecipeRow(**row)

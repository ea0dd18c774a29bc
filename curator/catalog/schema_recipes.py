"""The catalog's table of kept recipes. Part of the one schema (`schema.py`).

Knows nothing of what may be done with them: `recipes.py` holds the rules.
"""

from __future__ import annotations

import sqlalchemy as sa

from curator.catalog.columns import SERIAL, json_column, metadata, tenant_column, text, when

__all__ = ["recipes"]

recipes = sa.Table(
    "recipes",
    metadata,
    sa.Column("number", SERIAL, primary_key=True),
    tenant_column(),
    text("id"),
    text("name"),
    json_column("recipe"),
    when("created_at"),
    sa.UniqueConstraint("tenant", "id"),
    sa.Index("ix_recipes_tenant_number", "tenant", "number"),
    sqlite_autoincrement=True,
)

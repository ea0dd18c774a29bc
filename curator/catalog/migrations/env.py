"""How alembic runs a migration here: on the connection it is handed, inside the transaction already begun.

Knows nothing of URLs; the catalog opens the database.
"""

from __future__ import annotations

from alembic import context

from curator.catalog.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()

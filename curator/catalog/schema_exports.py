"""The catalog's table of exports. Part of the one schema (`schema.py`).

Knows nothing of what may be done with them: `exports.py` holds the rules.
"""

from __future__ import annotations

import sqlalchemy as sa

from curator.catalog.columns import id_column, json_column, metadata, number, tenant_column, text, when

__all__ = ["exports"]

exports = sa.Table(
    "exports",
    metadata,
    id_column(),
    tenant_column(),
    text("manifest"),
    text("format"),
    text("state"),
    number("attempt"),
    text("lease_owner", null=True),
    when("lease_until", null=True),
    number("fence"),
    json_column("progress", null=True),
    json_column("result", null=True),
    json_column("error", null=True),
    number("version"),
    when("created_at"),
    when("updated_at"),
    sa.Index("ix_exports_tenant_id", "tenant", "id"),
    sa.Index("ix_exports_state_id", "state", "id"),
)

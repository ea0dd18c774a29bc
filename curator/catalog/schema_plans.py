"""The catalog's tables around plans and manifests: who reads an epoch, what is written again, which names moved.

Part of the one schema (`schema.py`). Knows nothing of what may be done with them: `readings.py`, `rewrites.py`,
`aliases.py` and `epoch_losses.py` hold the rules.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from curator.catalog.columns import SERIAL, id_column, json_column, metadata, number, tenant_column, text, when

__all__ = ["epoch_losses", "manifest_moves", "reading_blocks", "readings", "rewrites"]


def _work() -> list[sa.Column[Any]]:
    """What `leased.py` keeps of each row."""
    return [
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
    ]


readings = sa.Table(
    "readings",
    metadata,
    id_column(),
    tenant_column(),
    sa.Column("plan", sa.Text, sa.ForeignKey("epoch_plans.id"), nullable=False),
    number("epoch"),
    text("name"),
    number("block_positions"),
    number("num_positions"),
    when("created_at"),
    sa.UniqueConstraint("tenant", "plan", "epoch", "name"),
)

reading_blocks = sa.Table(
    "reading_blocks",
    metadata,
    id_column(),
    tenant_column(),
    sa.Column("reading", sa.Text, sa.ForeignKey("readings.id"), nullable=False),
    number("number"),
    number("first"),
    number("stop"),
    *_work(),
    sa.UniqueConstraint("reading", "number"),
    sa.Index("ix_reading_blocks_reading_state_number", "reading", "state", "number"),
)

rewrites = sa.Table(
    "rewrites",
    metadata,
    id_column(),
    tenant_column(),
    text("kind"),
    text("manifest"),
    text("plan", null=True),
    number("epoch", null=True),
    *_work(),
    sa.Index("ix_rewrites_tenant_id", "tenant", "id"),
    sa.Index("ix_rewrites_state_id", "state", "id"),
)

manifest_moves = sa.Table(
    "manifest_moves",
    metadata,
    sa.Column("sequence", SERIAL, primary_key=True),
    tenant_column(),
    text("name"),
    text("from_manifest", null=True),
    text("to_manifest"),
    text("by"),
    text("note"),
    when("at"),
    sa.Index("ix_manifest_moves_tenant_name", "tenant", "name", "sequence"),
    sqlite_autoincrement=True,
)

epoch_losses = sa.Table(
    "epoch_losses",
    metadata,
    sa.Column("job", SERIAL, sa.ForeignKey("training_jobs.number"), primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    json_column("losses"),
    when("created_at"),
)

"""The catalog's tables of who changed what, and of who is told. Part of the one schema (`schema.py`).

Knows nothing of what may be done with them: `audit.py` and `webhooks.py` hold the rules.
"""

from __future__ import annotations

import sqlalchemy as sa

from curator.catalog.columns import SERIAL, id_column, json_column, metadata, number, tenant_column, text, when

__all__ = ["audit_log", "webhook_deliveries", "webhooks"]

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("number", SERIAL, primary_key=True),
    tenant_column(),
    text("actor"),
    text("action"),
    text("subject"),
    number("status"),
    text("request_id"),
    when("at"),
    sa.Index("ix_audit_log_tenant_number", "tenant", "number"),
    sqlite_autoincrement=True,
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    id_column(),
    tenant_column(index=True),
    text("url"),
    json_column("kinds"),
    text("secret"),
    number("told"),
    when("created_at"),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("number", SERIAL, primary_key=True),
    text("id", unique=True),
    sa.Column("webhook", sa.Text, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    number("sequence"),
    json_column("body"),
    text("state"),
    number("attempts"),
    when("next_at"),
    number("status", null=True),
    text("error", null=True),
    when("created_at"),
    sa.UniqueConstraint("webhook", "sequence"),
    sa.Index("ix_webhook_deliveries_state_next_at", "state", "next_at"),
    sqlite_autoincrement=True,
)

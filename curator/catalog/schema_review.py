"""The catalog's tables of what people judge: rows under review, policies and where their aliases point.

Knows nothing of what may be done with them: `reviews.py` and `policies.py` hold the rules. Part of the one schema
(`schema.py`), in a file of its own so that each is read in one breath.
"""

from __future__ import annotations

import sqlalchemy as sa

from curator.catalog.columns import SERIAL, id_column, json_column, metadata, number, tenant_column, text, when

__all__ = [
    "policy_aliases",
    "policy_moves",
    "policy_versions",
    "review_answers",
    "review_items",
    "review_queues",
    "review_skips",
]

review_queues = sa.Table(
    "review_queues",
    metadata,
    id_column(),
    tenant_column(),
    text("run"),
    text("digest"),
    json_column("settings"),
    json_column("about"),
    number("num_items"),
    when("created_at"),
    sa.UniqueConstraint("tenant", "run", "digest"),
    sa.Index("ix_review_queues_tenant_id", "tenant", "id"),
)

review_items = sa.Table(
    "review_items",
    metadata,
    id_column(),
    sa.Column("queue", sa.Text, sa.ForeignKey("review_queues.id"), nullable=False),
    number("position"),
    text("sample_id"),
    text("why"),
    number("shard"),
    number("row"),
    json_column("verdict"),
    sa.UniqueConstraint("queue", "position"),
)

review_answers = sa.Table(
    "review_answers",
    metadata,
    sa.Column("item", sa.Text, sa.ForeignKey("review_items.id"), primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("queue", sa.Text, sa.ForeignKey("review_queues.id"), nullable=False),
    number("position"),
    text("state"),
    number("fence"),
    text("reviewer", null=True),
    when("lease_until", null=True),
    text("action", null=True),
    json_column("label", null=True),
    text("note", null=True),
    when("answered_at", null=True),
    sa.Index("ix_review_answers_queue_state_position", "queue", "state", "position", "slot"),
)

review_skips = sa.Table(
    "review_skips",
    metadata,
    sa.Column("item", sa.Text, sa.ForeignKey("review_items.id"), primary_key=True),
    sa.Column("reviewer", sa.Text, primary_key=True),
    when("at"),
)

policy_versions = sa.Table(
    "policy_versions",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    text("policy"),
    text("task"),
    text("run"),
    text("recipe_digest"),
    text("path"),
    text("sha256"),
    json_column("scorecard"),
    when("created_at"),
    sa.UniqueConstraint("tenant", "name", "policy"),
)

policy_aliases = sa.Table(
    "policy_aliases",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    number("number", null=True),
    number("version"),
    when("updated_at"),
)

policy_moves = sa.Table(
    "policy_moves",
    metadata,
    sa.Column("sequence", SERIAL, primary_key=True),
    tenant_column(),
    text("name"),
    text("alias"),
    text("kind"),
    number("from_number", null=True),
    number("to_number", null=True),
    text("by"),
    text("note"),
    json_column("gate"),
    when("at"),
    sa.Index("ix_policy_moves_tenant_name_alias", "tenant", "name", "alias", "sequence"),
    sqlite_autoincrement=True,
)

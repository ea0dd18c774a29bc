"""Tables of reviews, policies and exports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "review_queues",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("num_items", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_review_queues_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_review_queues"),
        sa.UniqueConstraint("tenant", "run", "digest", name="uq_review_queues_tenant_run_digest"),
    )
    op.create_index("ix_review_queues_tenant_id", "review_queues", ["tenant", "id"], unique=False)
    op.create_table(
        "review_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("shard", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["queue"], ["review_queues.id"], name="fk_review_items_queue"),
        sa.PrimaryKeyConstraint("id", name="pk_review_items"),
        sa.UniqueConstraint("queue", "position", name="uq_review_items_queue_position"),
    )
    op.create_table(
        "review_answers",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("label", sa.JSON(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["item"], ["review_items.id"], name="fk_review_answers_item"),
        sa.ForeignKeyConstraint(["queue"], ["review_queues.id"], name="fk_review_answers_queue"),
        sa.PrimaryKeyConstraint("item", "slot", name="pk_review_answers"),
    )
    op.create_index(
        "ix_review_answers_queue_state_position", "review_answers", ["queue", "state", "position", "slot"], unique=False
    )
    op.create_table(
        "review_skips",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["review_items.id"], name="fk_review_skips_item"),
        sa.PrimaryKeyConstraint("item", "reviewer", name="pk_review_skips"),
    )
    op.create_table(
        "policy_versions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("recipe_digest", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("scorecard", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_policy_versions_tenant"),
        sa.PrimaryKeyConstraint("tenant", "name", "number", name="pk_policy_versions"),
        sa.UniqueConstraint("tenant", "name", "policy", name="uq_policy_versions_tenant_name_policy"),
    )
    op.create_table(
        "policy_aliases",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_policy_aliases_tenant"),
        sa.PrimaryKeyConstraint("tenant", "name", "alias", name="pk_policy_aliases"),
    )
    op.create_table(
        "policy_moves",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_number", sa.BigInteger(), nullable=True),
        sa.Column("to_number", sa.BigInteger(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("gate", sa.JSON(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_policy_moves_tenant"),
        sa.PrimaryKeyConstraint("sequence", name="pk_policy_moves"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_policy_moves_tenant_name_alias", "policy_moves", ["tenant", "name", "alias", "sequence"], unique=False
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_exports_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
    )
    op.create_index("ix_exports_state_id", "exports", ["state", "id"], unique=False)
    op.create_index("ix_exports_tenant_id", "exports", ["tenant", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_exports_state_id", table_name="exports")
    op.drop_index("ix_exports_tenant_id", table_name="exports")
    op.drop_table("exports")
    op.drop_index("ix_policy_moves_tenant_name_alias", table_name="policy_moves")
    op.drop_table("policy_moves")
    op.drop_table("policy_aliases")
    op.drop_table("policy_versions")
    op.drop_table("review_skips")
    op.drop_index("ix_review_answers_queue_state_position", table_name="review_answers")
    op.drop_table("review_answers")
    op.drop_table("review_items")
    op.drop_index("ix_review_queues_tenant_id", table_name="review_queues")
    op.drop_table("review_queues")

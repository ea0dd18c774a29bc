"""Table of kept recipes; where a dataset version was fetched from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "recipes",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_recipes_tenant"),
        sa.PrimaryKeyConstraint("number", name="pk_recipes"),
        sa.UniqueConstraint("tenant", "id", name="uq_recipes_tenant_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_recipes_tenant_number", "recipes", ["tenant", "number"], unique=False)
    op.add_column("dataset_versions", sa.Column("origin", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("dataset_versions", "origin")
    op.drop_table("recipes")

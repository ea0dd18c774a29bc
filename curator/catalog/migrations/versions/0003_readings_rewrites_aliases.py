"""Tables of readings under leases, rewrites, moves of manifest aliases, and losses by difficulty."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "readings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("block_positions", sa.BigInteger(), nullable=False),
        sa.Column("num_positions", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_readings_tenant"),
        sa.ForeignKeyConstraint(["plan"], ["epoch_plans.id"], name="fk_readings_plan"),
        sa.PrimaryKeyConstraint("id", name="pk_readings"),
        sa.UniqueConstraint("tenant", "plan", "epoch", "name", name="uq_readings_tenant_plan_epoch_name"),
    )
    op.create_table(
        "reading_blocks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("reading", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
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
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_reading_blocks_tenant"),
        sa.ForeignKeyConstraint(["reading"], ["readings.id"], name="fk_reading_blocks_reading"),
        sa.PrimaryKeyConstraint("id", name="pk_reading_blocks"),
        sa.UniqueConstraint("reading", "number", name="uq_reading_blocks_reading_number"),
    )
    op.create_index(
        "ix_reading_blocks_reading_state_number", "reading_blocks", ["reading", "state", "number"], unique=False
    )
    op.create_table(
        "rewrites",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
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
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_rewrites_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_rewrites"),
    )
    op.create_index("ix_rewrites_state_id", "rewrites", ["state", "id"], unique=False)
    op.create_index("ix_rewrites_tenant_id", "rewrites", ["tenant", "id"], unique=False)
    op.create_table(
        "manifest_moves",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("from_manifest", sa.Text(), nullable=True),
        sa.Column("to_manifest", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_manifest_moves_tenant"),
        sa.PrimaryKeyConstraint("sequence", name="pk_manifest_moves"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_manifest_moves_tenant_name", "manifest_moves", ["tenant", "name", "sequence"], unique=False)
    op.create_table(
        "epoch_losses",
        sa.Column("job", SERIAL, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("losses", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["training_jobs.number"], name="fk_epoch_losses_job"),
        sa.PrimaryKeyConstraint("job", "epoch", name="pk_epoch_losses"),
    )
    op.add_column("plan_epochs", sa.Column("losses", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("plan_epochs", "losses")
    op.drop_table("epoch_losses")
    op.drop_index("ix_manifest_moves_tenant_name", table_name="manifest_moves")
    op.drop_table("manifest_moves")
    op.drop_index("ix_rewrites_state_id", table_name="rewrites")
    op.drop_index("ix_rewrites_tenant_id", table_name="rewrites")
    op.drop_table("rewrites")
    op.drop_index("ix_reading_blocks_reading_state_number", table_name="reading_blocks")
    op.drop_table("reading_blocks")
    op.drop_table("readings")

"""When a run or manifest was deleted; what a tenant may take."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("deleted_at", sa.Double(), nullable=True))
    op.add_column("manifests", sa.Column("deleted_at", sa.Double(), nullable=True))
    op.add_column("tenants", sa.Column("quota", sa.JSON(), nullable=True))


def downgrade() -> None:
    for table, column in (("runs", "deleted_at"), ("manifests", "deleted_at"), ("tenants", "quota")):
        op.drop_column(table, column)  # no batch: that would drop the table, which rows of others point to

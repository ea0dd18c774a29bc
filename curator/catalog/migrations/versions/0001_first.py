"""The first tables, and the tenant of runs made without a server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
CLOCK = {
    "sqlite": "ROUND((julianday('now') - 2440587.5) * 86400.0, 3)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_api_keys_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_datasets_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_tenant", "datasets", ["tenant"], unique=False)
    op.create_table(
        "epoch_plans",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_epoch_plans_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_epoch_plans"),
        sa.UniqueConstraint("tenant", "digest", name="uq_epoch_plans_tenant_digest"),
    )
    op.create_index("ix_epoch_plans_tenant_id", "epoch_plans", ["tenant", "id"], unique=False)
    op.create_table(
        "events",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_events_tenant"),
        sa.PrimaryKeyConstraint("sequence", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_subject_sequence", "events", ["subject", "sequence"], unique=False)
    op.create_index("ix_events_tenant_sequence", "events", ["tenant", "sequence"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("response", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_idempotency_keys_tenant"),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency_keys"),
    )
    op.create_table(
        "manifest_aliases",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_manifest_aliases_tenant"),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_manifest_aliases"),
    )
    op.create_table(
        "manifest_shards",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_manifest_shards_tenant"),
        sa.PrimaryKeyConstraint("tenant", "digest", name="pk_manifest_shards"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "manifests",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_manifests_tenant"),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_manifests"),
    )
    op.create_index("ix_manifests_run", "manifests", ["run"], unique=False)
    op.create_index("ix_manifests_tenant_created_at", "manifests", ["tenant", "created_at", "id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("recipe_digest", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_runs_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_state_priority_id", "runs", ["state", "priority", "id"], unique=False)
    op.create_index("ix_runs_tenant_id", "runs", ["tenant", "id"], unique=False)
    op.create_table(
        "training_jobs",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
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
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_training_jobs_tenant"),
        sa.PrimaryKeyConstraint("number", name="pk_training_jobs"),
        sa.UniqueConstraint("id", name="uq_training_jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_training_jobs_state_number", "training_jobs", ["state", "number"], unique=False)
    op.create_index("ix_training_jobs_tenant_id", "training_jobs", ["tenant", "id"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("part_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_uploads_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_tenant", "uploads", ["tenant"], unique=False)
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("columns", sa.JSON(), nullable=True),
        sa.Column("statistics", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name="fk_dataset_versions_dataset"),
        sa.PrimaryKeyConstraint("dataset", "number", name="pk_dataset_versions"),
    )
    op.create_table(
        "feedback_batches",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("job", SERIAL, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("mask", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["training_jobs.number"], name="fk_feedback_batches_job"),
        sa.PrimaryKeyConstraint("number", name="pk_feedback_batches"),
        sa.UniqueConstraint("job", "digest", name="uq_feedback_batches_job_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "feedback_seen",
        sa.Column("job", SERIAL, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sample_id", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["training_jobs.number"], name="fk_feedback_seen_job"),
        sa.PrimaryKeyConstraint("job", "epoch", "sample_id", name="pk_feedback_seen"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "plan_epochs",
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ratios", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["epoch_plans.id"], name="fk_plan_epochs_plan"),
        sa.PrimaryKeyConstraint("plan", "epoch", name="pk_plan_epochs"),
    )
    op.create_table(
        "run_history",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_run_history_run"),
        sa.PrimaryKeyConstraint("number", name="pk_run_history"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_run_history_run", "run_history", ["run"], unique=False)
    op.create_table(
        "run_outputs",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("unit", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("committed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_run_outputs_run"),
        sa.PrimaryKeyConstraint("run", "step", "unit", name="pk_run_outputs"),
    )
    op.create_table(
        "upload_parts",
        sa.Column("upload", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name="fk_upload_parts_upload"),
        sa.PrimaryKeyConstraint("upload", "number", name="pk_upload_parts"),
    )
    clock = CLOCK[op.get_bind().dialect.name]
    op.execute(f"INSERT INTO tenants (id, name, created_at) VALUES ('local', 'local', {clock})")


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_table("run_outputs")
    op.drop_index("ix_run_history_run", table_name="run_history")
    op.drop_table("run_history")
    op.drop_table("plan_epochs")
    op.drop_table("feedback_seen")
    op.drop_table("feedback_batches")
    op.drop_table("dataset_versions")
    op.drop_index("ix_uploads_tenant", table_name="uploads")
    op.drop_table("uploads")
    op.drop_index("ix_training_jobs_tenant_id", table_name="training_jobs")
    op.drop_index("ix_training_jobs_state_number", table_name="training_jobs")
    op.drop_table("training_jobs")
    op.drop_index("ix_runs_tenant_id", table_name="runs")
    op.drop_index("ix_runs_state_priority_id", table_name="runs")
    op.drop_table("runs")
    op.drop_index("ix_manifests_tenant_created_at", table_name="manifests")
    op.drop_index("ix_manifests_run", table_name="manifests")
    op.drop_table("manifests")
    op.drop_table("manifest_shards")
    op.drop_table("manifest_aliases")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_events_tenant_sequence", table_name="events")
    op.drop_index("ix_events_subject_sequence", table_name="events")
    op.drop_table("events")
    op.drop_index("ix_epoch_plans_tenant_id", table_name="epoch_plans")
    op.drop_table("epoch_plans")
    op.drop_index("ix_datasets_tenant", table_name="datasets")
    op.drop_table("datasets")
    op.drop_index("ix_api_keys_tenant", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("tenants")

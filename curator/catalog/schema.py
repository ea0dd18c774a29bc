"""The catalog's tables.

Knows nothing of what may be done with them: each noun's file holds its own rules. A change here needs a migration
(`curator/catalog/migrations/versions/`); a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

from curator.catalog.columns import SERIAL as _SERIAL
from curator.catalog.columns import id_column as _id
from curator.catalog.columns import json_column as _json
from curator.catalog.columns import metadata
from curator.catalog.columns import number as _number
from curator.catalog.columns import tenant_column as _tenant
from curator.catalog.columns import text as _text
from curator.catalog.columns import when as _when

__all__ = [
    "api_keys",
    "dataset_versions",
    "datasets",
    "epoch_plans",
    "events",
    "feedback_batches",
    "feedback_seen",
    "idempotency_keys",
    "manifest_aliases",
    "manifest_shards",
    "manifests",
    "metadata",
    "plan_epochs",
    "run_history",
    "run_outputs",
    "runs",
    "tenants",
    "training_jobs",
    "upload_parts",
    "uploads",
]

tenants = sa.Table(
    "tenants", metadata, _id(), _text("name", unique=True), _when("created_at"), _json("quota", null=True)
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _id(),
    _tenant(index=True),
    _text("name"),
    _text("prefix"),
    _text("sha256", unique=True),
    _json("scopes"),
    _when("created_at"),
    _when("expires_at", null=True),
    _when("revoked_at", null=True),
    _when("last_used_at", null=True),
)

uploads = sa.Table(
    "uploads",
    metadata,
    _id(),
    _tenant(index=True),
    _text("name"),
    _number("size_bytes"),
    _number("part_bytes"),
    _text("sha256"),
    _text("state"),
    _number("version"),
    _when("created_at"),
    _when("updated_at"),
)

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("upload", sa.Text, sa.ForeignKey("uploads.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _number("size_bytes"),
    _text("sha256"),
    _when("created_at"),
)

datasets = sa.Table(
    "datasets",
    metadata,
    _id(),
    _tenant(index=True),
    _text("name"),
    _text("task"),
    _text("format", null=True),
    _json("columns"),
    _number("version"),
    _when("created_at"),
    _when("updated_at"),
    _when("deleted_at", null=True),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("dataset", sa.Text, sa.ForeignKey("datasets.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("state"),
    _json("inputs"),
    _text("digest", null=True),
    _number("rows", null=True),
    _number("bytes", null=True),
    _json("columns", null=True),
    _json("statistics", null=True),
    _json("error", null=True),
    _when("created_at"),
    _json("origin", null=True),
)

runs = sa.Table(
    "runs",
    metadata,
    _id(),
    _tenant(),
    _text("state"),
    _number("priority"),
    _json("request"),
    _text("recipe_digest"),
    _number("attempt"),
    _text("lease_owner", null=True),
    _when("lease_until", null=True),
    _number("fence"),
    _when("heartbeat_at", null=True),
    _when("not_before", null=True),
    _json("progress"),
    _json("summary", null=True),
    _json("error", null=True),
    _number("version"),
    _when("created_at"),
    _when("updated_at"),
    _when("deleted_at", null=True),
    sa.Index("ix_runs_tenant_id", "tenant", "id"),
    sa.Index("ix_runs_state_priority_id", "state", "priority", "id"),
)

run_history = sa.Table(
    "run_history",
    metadata,
    sa.Column("number", _SERIAL, primary_key=True),
    sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), nullable=False, index=True),
    _text("from_state", null=True),
    _text("to_state"),
    _number("attempt"),
    _number("fence"),
    _text("owner", null=True),
    _text("reason"),
    _when("at"),
    sqlite_autoincrement=True,
)

run_outputs = sa.Table(
    "run_outputs",
    metadata,
    sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("unit", sa.BigInteger, primary_key=True, autoincrement=False),
    _number("fence"),
    _json("outputs"),
    _when("committed_at"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("sequence", _SERIAL, primary_key=True),
    _tenant(),
    _text("kind"),
    _text("subject"),
    _json("data"),
    _when("at"),
    sa.Index("ix_events_tenant_sequence", "tenant", "sequence"),
    sa.Index("ix_events_subject_sequence", "subject", "sequence"),
    sqlite_autoincrement=True,  # a number is never given twice, even after the newest event was deleted
)

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    _id(),
    _text("run", null=True),
    _text("parent", null=True),
    _text("path"),
    _when("created_at"),
    _when("deleted_at", null=True),
    sa.Index("ix_manifests_tenant_created_at", "tenant", "created_at", "id"),
    sa.Index("ix_manifests_run", "run"),
)

manifest_aliases = sa.Table(
    "manifest_aliases",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    _text("manifest"),
    _number("version"),
    _when("updated_at"),
)

manifest_shards = sa.Table(
    "manifest_shards",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    _text("path"),
    _number("bytes"),
    sqlite_with_rowid=False,
)

epoch_plans = sa.Table(
    "epoch_plans",
    metadata,
    _id(),
    _tenant(),
    _text("manifest"),
    _text("digest"),
    _json("plan"),
    _when("created_at"),
    sa.UniqueConstraint("tenant", "digest"),
    sa.Index("ix_epoch_plans_tenant_id", "tenant", "id"),
)

plan_epochs = sa.Table(
    "plan_epochs",
    metadata,
    sa.Column("plan", sa.Text, sa.ForeignKey("epoch_plans.id"), primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    _json("losses", null=True),
    _json("ratios"),
    _when("created_at"),
)

training_jobs = sa.Table(
    "training_jobs",
    metadata,
    sa.Column("number", _SERIAL, primary_key=True),
    _text("id", unique=True),
    _tenant(),
    _text("mode"),
    _text("plan", null=True),
    _json("spec"),
    _text("state"),
    _number("attempt"),
    _text("lease_owner", null=True),
    _when("lease_until", null=True),
    _number("fence"),
    _json("progress", null=True),
    _json("result", null=True),
    _json("error", null=True),
    _number("version"),
    _when("created_at"),
    _when("updated_at"),
    sa.Index("ix_training_jobs_tenant_id", "tenant", "id"),
    sa.Index("ix_training_jobs_state_number", "state", "number"),
    sqlite_autoincrement=True,
)

feedback_batches = sa.Table(
    "feedback_batches",
    metadata,
    sa.Column("number", _SERIAL, primary_key=True),
    sa.Column("job", _SERIAL, sa.ForeignKey("training_jobs.number"), nullable=False),
    _text("digest"),
    _text("path"),
    _number("rows"),
    _number("accepted"),
    sa.Column("mask", sa.LargeBinary, nullable=False),
    _when("created_at"),
    sa.UniqueConstraint("job", "digest"),
    sqlite_autoincrement=True,
)

feedback_seen = sa.Table(
    "feedback_seen",
    metadata,
    sa.Column("job", _SERIAL, sa.ForeignKey("training_jobs.number"), primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sample_id", sa.LargeBinary, primary_key=True),
    sqlite_with_rowid=False,  # the key is the row: about 25 bytes a sample
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _text("request_digest"),
    _text("resource"),
    _number("status", null=True),
    _json("response", null=True),
    _when("started_at"),
    _when("finished_at", null=True),
)

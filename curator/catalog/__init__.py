"""The catalog: the rows that say what exists, who owns it and how far it has come.

Knows nothing of bytes: shards, ledgers and feedback lie in the store, the catalog knows their names.
"""

from __future__ import annotations

from curator.catalog.aliases import Alias, Aliases, AliasMove
from curator.catalog.audit import Audit, AuditLine
from curator.catalog.database import Database
from curator.catalog.datasets import Dataset, Datasets, DatasetVersion
from curator.catalog.events import Event, Events
from curator.catalog.exports import ClaimedExport, Export, ExportFormat, Exports
from curator.catalog.feedback import Feedback, FeedbackBatch, Receipt
from curator.catalog.idempotency import Idempotency, Replay, Started
from curator.catalog.jobs import ClaimedJob, Jobs, TrainingJob
from curator.catalog.keys import LOCAL_TENANT, ApiKey, Keys, Scope, Tenant
from curator.catalog.leased import Claim, JobState, Work
from curator.catalog.manifests import ManifestRow, Manifests, ShardPlace
from curator.catalog.outputs import CatalogJournal, Outputs
from curator.catalog.paging import Page
from curator.catalog.plans import PlanEpoch, PlanRow, Plans
from curator.catalog.policies import Policies, PolicyAlias, PolicyAliasName, PolicyMove, PolicyVersion
from curator.catalog.purging import Deleted, Purging
from curator.catalog.queued import QueuedWork
from curator.catalog.quotas import NO_LIMITS, Quota, Quotas, Use
from curator.catalog.readings import Block, BlockLease, Reading, Readings, Standing
from curator.catalog.recipes import RecipeRow, Recipes
from curator.catalog.review_records import Answer, NewItem, ReviewAction, ReviewItem, ReviewLease, ReviewQueue
from curator.catalog.reviews import Reviews
from curator.catalog.rewrites import ClaimedRewrite, Rewrite, RewriteKind, Rewrites
from curator.catalog.run_records import ClaimedRun, Run, RunFault, Step
from curator.catalog.runs import Runs
from curator.catalog.uploads import Upload, UploadPart, Uploads, UploadState
from curator.catalog.webhooks import Delivery, DeliveryState, DueDelivery, Webhook, Webhooks

__all__ = [
    "LOCAL_TENANT",
    "NO_LIMITS",
    "Alias",
    "AliasMove",
    "Answer",
    "ApiKey",
    "AuditLine",
    "Block",
    "BlockLease",
    "Catalog",
    "Claim",
    "CatalogJournal",
    "ClaimedExport",
    "ClaimedJob",
    "ClaimedRewrite",
    "ClaimedRun",
    "Dataset",
    "DatasetVersion",
    "Deleted",
    "Delivery",
    "DeliveryState",
    "DueDelivery",
    "Event",
    "Export",
    "ExportFormat",
    "FeedbackBatch",
    "JobState",
    "ManifestRow",
    "NewItem",
    "Page",
    "PlanEpoch",
    "PlanRow",
    "PolicyAlias",
    "PolicyAliasName",
    "PolicyMove",
    "PolicyVersion",
    "QueuedWork",
    "Quota",
    "Reading",
    "Receipt",
    "RecipeRow",
    "Replay",
    "ReviewAction",
    "ReviewItem",
    "ReviewLease",
    "ReviewQueue",
    "Rewrite",
    "RewriteKind",
    "Run",
    "RunFault",
    "Scope",
    "ShardPlace",
    "Standing",
    "Started",
    "Step",
    "Tenant",
    "TrainingJob",
    "Upload",
    "UploadPart",
    "UploadState",
    "Use",
    "Webhook",
    "Work",
]


class Catalog:
    """One opened database and its nouns. Threads share it."""

    def __init__(self, database: Database):
        self.database = database
        self.keys = Keys(database)
        self.uploads = Uploads(database)
        self.datasets = Datasets(database)
        self.recipes = Recipes(database)
        self.runs = Runs(database)
        self.outputs = Outputs(database)
        self.events = Events(database)
        self.manifests = Manifests(database)
        self.aliases = Aliases(database)
        self.plans = Plans(database)
        self.readings = Readings(database)
        self.jobs = Jobs(database)
        self.feedback = Feedback(database)
        self.policies = Policies(database)
        self.exports = Exports(database)
        self.rewrites = Rewrites(database)
        self.reviews = Reviews(database)
        self.idempotency = Idempotency(database)
        self.audit = Audit(database)
        self.webhooks = Webhooks(database)
        self.purging = Purging(database)
        self.quotas = Quotas(database)

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Catalog:
        """Opens `sqlite:///path` or `postgresql+psycopg://…` and migrates it. Raises as `Database.open` does."""
        return cls(Database.open(url, create=create))

    def close(self) -> None:
        """Closes the connections; the catalog is not used afterwards."""
        self.database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

"""Deleting runs and what they made, and forgetting it for good some time later.

A deleted run and its manifests are hidden at once; what anybody needs (`holders.py`) is not deleted. Knows nothing of
files: whoever removes them (`pipelines/purging.py`) calls `forget_…` last, so that a purge that was killed is gone on
with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.aliases import LATEST, fall_back, moves_by_itself
from curator.catalog.columns import metadata
from curator.catalog.database import Database, hold_manifests, now
from curator.catalog.datasets import VersionState
from curator.catalog.events import emit
from curator.catalog.holders import UNFINISHED, holders_of, made_by, other_maker, own
from curator.catalog.schema import (
    dataset_versions,
    datasets,
    epoch_plans,
    events,
    feedback_batches,
    feedback_seen,
    manifest_aliases,
    manifest_shards,
    manifests,
    plan_epochs,
    run_history,
    run_outputs,
    runs,
    tenants,
    training_jobs,
    uploads,
)
from curator.catalog.schema_exports import exports
from curator.catalog.schema_plans import epoch_losses, manifest_moves, reading_blocks, readings, rewrites
from curator.catalog.schema_review import policy_versions, review_answers, review_items, review_queues, review_skips
from curator.catalog.transitions import locked
from curator.catalog.uploads import UploadState
from curator.errors import ConflictError, NotFoundError
from curator.run import TERMINAL, RunState

__all__ = ["Deleted", "Purging"]

_BY_STATEMENT: Final = 500
_UPLOAD: Final = re.compile(r"upl_\w+")


class Deleted(BaseModel):
    """A run on its way out and the manifests that go with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str
    run: str
    manifests: tuple[str, ...]


class Purging:
    def __init__(self, database: Database):
        self._db = database

    # --- runs ------------------------------------------------------------------------------------------------

    def holders(self, tenant: str, run_id: str, *, keep_latest: bool = False) -> list[str]:
        """Who needs the run or a manifest it made, in words; empty: it may be deleted. `keep_latest`: a name that moves
        by itself needs it too. Raises NotFoundError."""
        with self._db.read() as connection:
            locked(connection, run_id, tenant=tenant, lock=False)
            return holders_of(connection, tenant, run_id, keep_latest=keep_latest)

    def manifests_of(self, tenant: str, run_id: str) -> list[str]:
        """The manifests that go with a run: all it made, but for those that another run made as well."""
        with self._db.read() as connection:
            return own(connection, tenant, run_id)

    def delete_run(self, tenant: str, run_id: str, *, version: int | None = None, keep_latest: bool = False) -> Deleted:
        """Hides a run that has ended, and its manifests; `latest` falls back to where it stood before, unless with
        `keep_latest` it holds the run. Raises NotFoundError; ConflictError for one that may go on,
        for a `version` (If-Match) that is not the present one, and naming whoever needs it."""
        with self._db.write() as connection:
            hold_manifests(connection, alone=True)
            row = locked(connection, run_id, tenant=tenant, version=version)
            if row.state not in TERMINAL:
                raise ConflictError(f"run {run_id} is {row.state}; cancel it first, then delete it")
            held = holders_of(connection, tenant, run_id, keep_latest=keep_latest)
            if held:
                raise ConflictError(f"run {run_id} is held by {', '.join(held[:10])}; release those first")
            _hand_over(connection, tenant, run_id)
            mine = own(connection, tenant, run_id)
            hidden = sa.update(manifests).where(manifests.c.tenant == tenant, manifests.c.id.in_(mine))
            connection.execute(hidden.values(deleted_at=now()))
            gone = sa.update(runs).where(runs.c.id == run_id)
            connection.execute(gone.values(deleted_at=now(), version=runs.c.version + 1))
            fall_back(connection, tenant, mine, by=run_id)
            emit(connection, tenant, "run.deleted", run_id, {"manifests": mine})
        return Deleted(tenant=tenant, run=run_id, manifests=tuple(mine))

    def ended(self, older_than_s: float) -> list[tuple[str, str]]:
        """(tenant, run) of runs that ended longer ago than that, of every tenant, oldest first."""
        old = sa.and_(runs.c.state.in_(sorted(TERMINAL)), runs.c.updated_at < now() - older_than_s)
        query = sa.select(runs.c.tenant, runs.c.id).where(old, runs.c.deleted_at.is_(None)).order_by(runs.c.id)
        with self._db.read() as connection:
            return [(tenant, run_id) for tenant, run_id in connection.execute(query)]

    def due(self, grace_s: float) -> list[Deleted]:
        """Runs deleted longer ago than that, of every tenant."""
        query = sa.select(runs.c.tenant, runs.c.id).where(runs.c.deleted_at <= now() - grace_s).order_by(runs.c.id)
        with self._db.read() as connection:
            return [
                Deleted(tenant=tenant, run=run_id, manifests=tuple(_hidden(connection, tenant, run_id)))
                for tenant, run_id in connection.execute(query).all()
            ]

    def forget_run(
        self,
        deleted: Deleted,
        digests_of: Callable[[str], Collection[str]],
        remove: Callable[[str], None],
    ) -> None:
        """The rows of a deleted run and of its manifests go. `digests_of` tells what a manifest lists; `remove` takes a
        manifest's file away once no tenant has it."""
        tenant, run_id = deleted.tenant, deleted.run
        with self._db.read() as connection:
            known = {name: set(digests_of(name)) for name in _kept(connection, tenant, deleted.manifests)}
        with self._db.write() as connection:
            hold_manifests(connection, alone=True)
            gone = set(_hidden(connection, tenant, run_id))  # one that is wanted again was brought back meanwhile
            kept = _kept(connection, tenant, gone)
            wanted: set[str] = set().union(*(known.get(name) or set(digests_of(name)) for name in kept))
            _close_shards(connection, tenant, wanted)
            connection.execute(sa.delete(manifests).where(manifests.c.tenant == tenant, manifests.c.id.in_(gone)))
            for name in sorted(gone):
                if connection.execute(sa.select(manifests.c.id).where(manifests.c.id == name)).first() is None:
                    remove(name)
            _forget_review(connection, run_id)
            connection.execute(sa.delete(policy_versions).where(policy_versions.c.run == run_id))
            for table in (run_outputs, run_history):
                connection.execute(sa.delete(table).where(table.c.run == run_id))
            connection.execute(sa.delete(events).where(events.c.subject == run_id))
            connection.execute(sa.delete(runs).where(runs.c.id == run_id))

    # --- what stands for itself ----------------------------------------------------------------------------------

    def forget_alias(self, tenant: str, name: str, *, version: int | None = None) -> None:
        """A name and its moves go; the manifest stays. Raises NotFoundError; ConflictError for a name that moves by
        itself, and for a `version` (If-Match) that is not the present one."""
        if moves_by_itself(name):
            raise ConflictError(
                f"{name!r} follows what runs make and is not deleted by hand; it moves with the "
                "next run, or when its run is deleted"
            )
        with self._db.write() as connection:
            mine = sa.and_(manifest_aliases.c.tenant == tenant, manifest_aliases.c.name == name)
            present = connection.execute(sa.select(manifest_aliases.c.version).where(mine).with_for_update()).scalar()
            if present is None:
                raise NotFoundError(f"there is no alias {name!r}; list them to see their names")
            if version is not None and version != present:
                raise ConflictError(f"alias {name!r} is at version {present}, the request was for {version}")
            connection.execute(sa.delete(manifest_aliases).where(mine))
            connection.execute(sa.delete(manifest_moves).filter_by(tenant=tenant, name=name))

    def forget_plan(self, tenant: str, plan_id: str) -> None:
        """A plan goes, with who read it. Raises NotFoundError; ConflictError while a job or a rewrite needs it."""
        with self._db.write() as connection:
            mine = sa.and_(epoch_plans.c.tenant == tenant, epoch_plans.c.id == plan_id)
            if connection.execute(sa.select(epoch_plans.c.id).where(mine).with_for_update()).first() is None:
                raise NotFoundError(f"there is no epoch plan {plan_id!r}; check the id and the credential")
            held = _ids(connection, training_jobs, tenant, training_jobs.c.plan == plan_id)
            needed = sa.and_(rewrites.c.plan == plan_id, rewrites.c.state.in_(UNFINISHED))
            held += _ids(connection, rewrites, tenant, needed)
            if held:
                raise ConflictError(
                    f"epoch plan {plan_id} is held by {', '.join(held[:10])}; delete or cancel those first"
                )
            of_plan = sa.select(readings.c.id).where(readings.c.plan == plan_id)
            connection.execute(sa.delete(reading_blocks).where(reading_blocks.c.reading.in_(of_plan)))
            connection.execute(sa.delete(readings).where(readings.c.plan == plan_id))
            connection.execute(sa.delete(plan_epochs).where(plan_epochs.c.plan == plan_id))
            connection.execute(sa.delete(epoch_plans).where(mine))

    def forget_job(self, tenant: str, job_id: str) -> None:
        """A training job that has ended goes, with what it reported. Raises NotFoundError; ConflictError for one that
        has not."""
        with self._db.write() as connection:
            mine = sa.and_(training_jobs.c.tenant == tenant, training_jobs.c.id == job_id)
            columns = (training_jobs.c.number, training_jobs.c.state)
            row = connection.execute(sa.select(*columns).where(mine).with_for_update()).first()
            if row is None:
                raise NotFoundError(f"there is no training job {job_id!r}; check the id and the credential")
            if row.state in UNFINISHED:
                raise ConflictError(f"training job {job_id} is {row.state}; cancel it first, then delete it")
            for table in (feedback_seen, feedback_batches, epoch_losses):
                connection.execute(sa.delete(table).where(table.c.job == row.number))
            connection.execute(sa.delete(events).where(events.c.subject == job_id))
            connection.execute(sa.delete(training_jobs).where(mine))

    # --- datasets ----------------------------------------------------------------------------------------------

    def unused_inputs(self, grace_s: float) -> list[tuple[str, str]]:
        """(tenant, dataset) of datasets deleted longer ago than that whose bytes no run that may go on reads."""
        query = sa.select(datasets.c.tenant, datasets.c.id).where(datasets.c.deleted_at <= now() - grace_s)
        with self._db.read() as connection:
            found = connection.execute(query.order_by(datasets.c.id)).all()
            return [(tenant, name) for tenant, name in found if not _reads(connection, tenant, name)]

    def inputs_of(self, dataset: str) -> list[str]:
        """What the versions of a dataset read, deleted or not."""
        query = sa.select(dataset_versions.c.inputs).where(dataset_versions.c.dataset == dataset)
        with self._db.read() as connection:
            return sorted({place for inputs in connection.execute(query).scalars() for place in inputs})

    def forget_dataset(self, tenant: str, dataset: str) -> None:
        """The rows of a deleted dataset go, and the name that followed its runs."""
        with self._db.write() as connection:
            latest = {"tenant": tenant, "name": f"{LATEST}@{dataset}"}
            for table in (manifest_aliases, manifest_moves):
                connection.execute(sa.delete(table).filter_by(**latest))
            connection.execute(sa.delete(dataset_versions).where(dataset_versions.c.dataset == dataset))
            mine = sa.and_(datasets.c.tenant == tenant, datasets.c.id == dataset, datasets.c.deleted_at.is_not(None))
            connection.execute(sa.delete(datasets).where(mine))

    def uses_of(self, tenant: str, text: str) -> bool:
        """Whether a dataset that is not deleted, or a run that may go on, names something in its inputs."""
        with self._db.read() as connection:
            return _reads(connection, tenant, text) or _registered(connection, tenant, text)

    # --- exports, and everything ---------------------------------------------------------------------------------

    def old_exports(self, older_than_s: float) -> list[tuple[str, str]]:
        """(tenant, export) of exports that ended longer ago than that."""
        with self._db.read() as connection:
            return _old(connection, exports, older_than_s, exports.c.state.not_in(UNFINISHED))

    def old_jobs(self, older_than_s: float) -> list[tuple[str, str]]:
        """(tenant, job) of training jobs that ended longer ago than that."""
        with self._db.read() as connection:
            return _old(connection, training_jobs, older_than_s, training_jobs.c.state.not_in(UNFINISHED))

    def old_uploads(self, older_than_s: float) -> list[tuple[str, str]]:
        """(tenant, upload) of uploads that were complete longer ago than that and that no dataset or run names. A
        deleted dataset holds its uploads until it is purged, a run until it is deleted."""
        with self._db.read() as connection:
            found = _old(connection, uploads, older_than_s, uploads.c.state == UploadState.COMPLETE)
            if not found:
                return []
            of_runs = sa.select(sa.cast(runs.c.request, sa.Text)).where(runs.c.deleted_at.is_(None))
            said = of_runs.union_all(sa.select(sa.cast(dataset_versions.c.inputs, sa.Text)))
            named = {name for text in connection.execute(said).scalars() for name in _UPLOAD.findall(text)}
        return [(tenant, name) for tenant, name in found if name not in named]

    def forget_export(self, tenant: str, export_id: str) -> None:
        """The row of an export that has ended goes. Raises ConflictError for one that is being written."""
        with self._db.write() as connection:
            mine = sa.and_(exports.c.tenant == tenant, exports.c.id == export_id)
            state = connection.execute(sa.select(exports.c.state).where(mine).with_for_update()).scalar()
            if state in UNFINISHED:
                raise ConflictError(f"export {export_id} is {state}; cancel it first, then delete it")
            connection.execute(sa.delete(exports).where(mine))

    def snapshots(self, tenant: str | None = None) -> set[str]:
        """The snapshots of feedback that runs were told to read, by a tenant's or by anybody's."""
        named = runs.c.request["feedback"].as_string()
        query = sa.select(named).where(named.is_not(None)).distinct()
        with self._db.read() as connection:
            return set(connection.execute(query if tenant is None else query.where(runs.c.tenant == tenant)).scalars())

    def working(self, tenant: str) -> list[str]:
        """Ids of a tenant's runs, jobs, exports and rewrites that somebody may be working on, and of its datasets that
        are still being fetched or validated."""
        with self._db.read() as connection:
            found = _ids(connection, runs, tenant, runs.c.state.not_in(sorted(TERMINAL)))
            managed = sa.and_(training_jobs.c.state.in_(UNFINISHED), training_jobs.c.mode == "managed")
            found += _ids(connection, training_jobs, tenant, managed)
            for table in (exports, rewrites):
                found += _ids(connection, table, tenant, table.c.state.in_(UNFINISHED))
            unsettled = sa.select(dataset_versions.c.dataset).where(dataset_versions.c.state == VersionState.VALIDATING)
            left = sa.and_(datasets.c.deleted_at.is_(None), datasets.c.id.in_(unsettled))
            found += _ids(connection, datasets, tenant, left)
        return found

    def everything_of(self, tenant: str) -> dict[str, list[str]]:
        """Ids of what has files of its own, by kind: runs, training_jobs, exports, uploads, plans, manifests."""
        kinds = {"runs": runs, "training_jobs": training_jobs, "exports": exports, "plans": epoch_plans}
        kinds |= {"manifests": manifests, "uploads": uploads}
        with self._db.read() as connection:
            return {kind: _ids(connection, table, tenant, sa.true()) for kind, table in kinds.items()}

    def num_deleted(self, tenant: str) -> int:
        """Runs on their way out."""
        query = sa.select(sa.func.count()).where(runs.c.tenant == tenant, runs.c.deleted_at.is_not(None))
        with self._db.read() as connection:
            return int(connection.execute(query).scalar_one())

    @contextmanager
    def forget_tenant(self, tenant: str) -> Iterator[list[str]]:
        """Every row of a tenant goes, the tenant last; what is done inside with the manifests that no other tenant has
        belongs to the same transaction."""
        with self._db.write() as connection:
            hold_manifests(connection, alone=True)
            mine = set(_ids(connection, manifests, tenant, sa.true()))
            for table in reversed(metadata.sorted_tables):
                condition = _of_tenant(table, tenant)
                if condition is not None:
                    connection.execute(sa.delete(table).where(condition))
            left = set(connection.execute(sa.select(manifests.c.id).where(manifests.c.id.in_(mine))).scalars())
            connection.execute(sa.delete(tenants).where(tenants.c.id == tenant))
            yield sorted(mine - left)


def _hidden(connection: sa.Connection, tenant: str, run_id: str) -> list[str]:
    query = sa.select(manifests.c.id).where(manifests.c.tenant == tenant, manifests.c.run == run_id)
    return list(connection.execute(query.where(manifests.c.deleted_at.is_not(None))).scalars())


def _hand_over(connection: sa.Connection, tenant: str, run_id: str) -> None:
    """A manifest that another run made too is that run's from now on."""
    for name in made_by(connection, tenant, run_id):
        other = other_maker(connection, tenant, run_id, name)
        if other is not None:
            mine = sa.and_(manifests.c.tenant == tenant, manifests.c.id == name)
            connection.execute(sa.update(manifests).where(mine).values(run=other))


def _kept(connection: sa.Connection, tenant: str, gone: Collection[str]) -> list[str]:
    query = sa.select(manifests.c.id).where(manifests.c.tenant == tenant)
    return [name for name in connection.execute(query).scalars() if name not in gone]


def _close_shards(connection: sa.Connection, tenant: str, wanted: set[str]) -> None:
    """Shards that no manifest of the tenant lists any more open to it no longer."""
    listed = sa.select(manifest_shards.c.digest).where(manifest_shards.c.tenant == tenant)
    stale = sorted(set(connection.execute(listed).scalars()) - wanted)
    for start in range(0, len(stale), _BY_STATEMENT):
        part = manifest_shards.c.digest.in_(stale[start : start + _BY_STATEMENT])
        connection.execute(sa.delete(manifest_shards).where(manifest_shards.c.tenant == tenant, part))


def _forget_review(connection: sa.Connection, run_id: str) -> None:
    queues = sa.select(review_queues.c.id).where(review_queues.c.run == run_id)
    items = sa.select(review_items.c.id).where(review_items.c.queue.in_(queues))
    for table in (review_skips, review_answers):
        connection.execute(sa.delete(table).where(table.c.item.in_(items)))
    connection.execute(sa.delete(review_items).where(review_items.c.queue.in_(queues)))
    connection.execute(sa.delete(review_queues).where(review_queues.c.run == run_id))


def _reads(connection: sa.Connection, tenant: str, text: str) -> bool:
    """Whether the request of a run that may go on (a failed one too) has these words: a dataset's or an upload's id."""
    ended = (RunState.SUCCEEDED, RunState.CANCELLED)
    going = sa.and_(runs.c.tenant == tenant, runs.c.state.not_in(ended), runs.c.deleted_at.is_(None))
    said = sa.cast(runs.c.request, sa.Text).contains(text, autoescape=True)
    return connection.execute(sa.select(runs.c.id).where(going, said).limit(1)).first() is not None


def _registered(connection: sa.Connection, tenant: str, text: str) -> bool:
    of_mine = dataset_versions.c.dataset == datasets.c.id
    mine = sa.and_(datasets.c.tenant == tenant, datasets.c.deleted_at.is_(None), of_mine)
    said = sa.cast(dataset_versions.c.inputs, sa.Text).contains(text, autoescape=True)
    return connection.execute(sa.select(datasets.c.id).where(mine, said).limit(1)).first() is not None


def _ids(connection: sa.Connection, table: sa.Table, tenant: str, condition: sa.ColumnElement[bool]) -> list[str]:
    query = sa.select(table.c.id).where(table.c.tenant == tenant, condition).order_by(table.c.id)
    return list(connection.execute(query).scalars())


def _old(
    connection: sa.Connection, table: sa.Table, older_than_s: float, condition: sa.ColumnElement[bool]
) -> list[tuple[str, str]]:
    old = sa.and_(condition, table.c.updated_at < now() - older_than_s)
    query = sa.select(table.c.tenant, table.c.id).where(old).order_by(table.c.id)
    return [(tenant, name) for tenant, name in connection.execute(query)]


def _of_tenant(table: sa.Table, tenant: str) -> sa.ColumnElement[bool] | None:
    """Which rows are the tenant's: by its column, or by that of what a foreign key points to. None: no table of
    tenants' things."""
    if table is tenants:
        return None
    if "tenant" in table.c:
        return table.c.tenant == tenant
    for key in table.foreign_keys:
        above = _of_tenant(key.column.table, tenant)
        if above is not None:
            return key.parent.in_(sa.select(key.column).where(above))
    return None

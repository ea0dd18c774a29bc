"""Who needs a run or a manifest it made: names, plans, children, jobs, unfinished work, policies in use.

Only looks; `purging.py` deletes what nobody holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from curator.catalog.aliases import itself
from curator.catalog.leased import JobState
from curator.catalog.schema import epoch_plans, manifest_aliases, manifests, runs, training_jobs
from curator.catalog.schema_exports import exports
from curator.catalog.schema_plans import rewrites
from curator.catalog.schema_review import policy_aliases, policy_versions
from curator.run import RunState

__all__ = ["UNFINISHED", "holders_of", "made_by", "other_maker", "own"]

UNFINISHED: Final = (JobState.QUEUED, JobState.RUNNING)


def holders_of(connection: sa.Connection, tenant: str, run_id: str, *, keep_latest: bool) -> list[str]:
    """In words; empty: it may be deleted. `keep_latest`: names that move by themselves hold it too."""
    mine = own(connection, tenant, run_id)
    children = (manifests.c.parent.in_(mine), manifests.c.id.not_in(mine), manifests.c.deleted_at.is_(None))
    trained_on = training_jobs.c.spec["manifest"].as_string()
    named = sa.cast(runs.c.request, sa.Text).contains(run_id, autoescape=True)
    names = manifest_aliases.c.manifest.in_(mine) if keep_latest else manifest_aliases.c.manifest.in_(mine) & ~itself()
    columns: list[tuple[str, sa.Column[Any], tuple[sa.ColumnElement[bool], ...]]] = [
        ("alias {!r}", manifest_aliases.c.name, (names,)),
        ("{}, a child of its manifest", manifests.c.id, children),
        ("run {}, which goes on from it", runs.c.id, (named, runs.c.id != run_id, runs.c.deleted_at.is_(None))),
        ("epoch plan {}", epoch_plans.c.id, (epoch_plans.c.manifest.in_(mine),)),
        ("training job {}", training_jobs.c.id, (trained_on.in_(mine),)),
        ("export {}, not yet written", exports.c.id, (exports.c.manifest.in_(mine), exports.c.state.in_(UNFINISHED))),
        ("rewrite {}, not yet done", rewrites.c.id, (rewrites.c.manifest.in_(mine), rewrites.c.state.in_(UNFINISHED))),
        ("policy {!r}, by an alias", policy_aliases.c.name, (_points_to(run_id),)),
    ]
    return [said for told, column, where in columns for said in _found(connection, tenant, told, column, where)]


def _found(
    connection: sa.Connection, tenant: str, told: str, column: sa.Column[Any], where: tuple[sa.ColumnElement[bool], ...]
) -> Iterator[str]:
    query = sa.select(column).where(column.table.c.tenant == tenant, *where).order_by(column)
    for name in connection.execute(query).scalars():
        yield told.format(name)


def _points_to(run_id: str) -> sa.ColumnElement[bool]:
    """A policy's alias that stands at what the run learned."""
    return sa.exists(
        sa.select(policy_versions.c.number).where(
            policy_versions.c.tenant == policy_aliases.c.tenant,
            policy_versions.c.name == policy_aliases.c.name,
            policy_versions.c.number == policy_aliases.c.number,
            policy_versions.c.run == run_id,
        )
    )


def made_by(connection: sa.Connection, tenant: str, run_id: str) -> list[str]:
    """The manifests a run made, deleted or not."""
    entered = sa.select(manifests.c.id).where(manifests.c.tenant == tenant, manifests.c.run == run_id)
    ended = sa.select(runs.c.summary["manifest"].as_string()).where(runs.c.id == run_id, runs.c.summary.is_not(None))
    found = [*connection.execute(entered).scalars(), *connection.execute(ended).scalars()]
    return sorted({name for name in found if name is not None})


def own(connection: sa.Connection, tenant: str, run_id: str) -> list[str]:
    """Those that no other run made too."""
    return [
        name for name in made_by(connection, tenant, run_id) if other_maker(connection, tenant, run_id, name) is None
    ]


def other_maker(connection: sa.Connection, tenant: str, run_id: str, manifest: str) -> str | None:
    """Another run that ended with an equal manifest."""
    other = sa.and_(runs.c.tenant == tenant, runs.c.id != run_id, runs.c.deleted_at.is_(None))
    query = sa.select(runs.c.id).where(other, runs.c.state == RunState.SUCCEEDED)
    return connection.execute(query.where(runs.c.summary["manifest"].as_string() == manifest)).scalars().first()

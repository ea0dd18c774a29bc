"""Policies that runs have learned, and the names that point at one of them: moving a name is the only promotion.

Knows scorecards as JSON and where weights lie; nothing of how a policy decides. Every move leaves a line that is never
changed or removed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, hold_manifests, insert_new, now
from curator.catalog.events import emit
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import runs
from curator.catalog.schema_review import policy_aliases, policy_moves, policy_versions
from curator.errors import ConflictError, NotFoundError
from curator.promotion import GateCheck, checks_of

__all__ = ["Policies", "PolicyAlias", "PolicyAliasName", "PolicyMove", "PolicyVersion"]

PolicyAliasName = Literal["champion", "candidate"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PolicyVersion(_Record):
    """A learned policy. `policy`: its content digest, as ledgers name it. `path`: the folder of its safetensors file
    below the root; `sha256`: of that file."""

    tenant: str
    name: str
    number: int
    policy: str
    task: str
    run: str
    recipe_digest: str
    path: str
    sha256: str
    scorecard: dict[str, Any]
    created_at: dt.datetime


class PolicyAlias(_Record):
    """`number`: the version it points at, None once it was rolled back to nothing. `version` grows with every move."""

    alias: PolicyAliasName
    number: int | None
    version: int
    updated_at: dt.datetime


class PolicyMove(_Record):
    """One move of an alias: who, when, from where to where, and what the gate found."""

    sequence: int
    name: str
    alias: PolicyAliasName
    kind: Literal["move", "rollback"]
    from_number: int | None
    to_number: int | None
    by: str
    note: str
    gate: list[dict[str, Any]]
    at: dt.datetime


_VERSION: Final = [policy_versions.c[name] for name in PolicyVersion.model_fields]
_MOVE: Final = [policy_moves.c[name] for name in PolicyMove.model_fields]


class Policies:
    def __init__(self, database: Database):
        self._db = database

    def record(
        self,
        tenant: str,
        name: str,
        policy: str,
        *,
        task: str,
        run: str,
        recipe_digest: str,
        path: str,
        sha256: str,
        scorecard: Mapping[str, Any],
    ) -> PolicyVersion:
        """Enters a policy as the next version of its name. An equal policy is the version it was: the first run that
        learned it stays its maker."""
        about = {"task": task, "run": run, "recipe_digest": recipe_digest, "path": path, "sha256": sha256}
        key = {"tenant": tenant, "name": name}
        with self._db.write() as connection:
            while True:
                number = _next_number(connection, **key)
                values = {**key, "number": number, "policy": policy, **about, "scorecard": dict(scorecard)}
                inserted = insert_new(connection, policy_versions, **values, created_at=now())
                query = sa.select(*_VERSION).filter_by(**key, policy=policy)
                row = connection.execute(query).mappings().one_or_none()
                if row is not None:  # else another writer took the number for another policy
                    break
            if inserted:
                emit(connection, tenant, "policy.learned", name, {"number": number, "policy": policy, "run": run})
            return PolicyVersion(**row)

    def get(self, tenant: str, name: str, number: int) -> PolicyVersion:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _version(connection, tenant, name, number)

    def names(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[PolicyVersion]:
        """The newest version of every name, names in order."""
        newest = sa.select(policy_versions.c.name, sa.func.max(policy_versions.c.number).label("number"))
        newest = newest.where(policy_versions.c.tenant == tenant).group_by(policy_versions.c.name)
        if cursor is not None:
            newest = newest.where(policy_versions.c.name > decode_cursor(cursor, [str])[0])
        page = newest.order_by(policy_versions.c.name).limit(checked_limit(limit) + 1).subquery()
        same = sa.and_(policy_versions.c.name == page.c.name, policy_versions.c.number == page.c.number)
        query = sa.select(*_VERSION).join(page, same).where(policy_versions.c.tenant == tenant)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(policy_versions.c.name)).mappings()
            found = [PolicyVersion(**row) for row in rows]
        return page_of(found, limit, lambda version: (version.name,))

    def versions(self, tenant: str, name: str, *, cursor: str | None = None, limit: int = 100) -> Page[PolicyVersion]:
        """A name's versions, newest first. Raises NotFoundError for a name without one."""
        query = sa.select(*_VERSION).filter_by(tenant=tenant, name=name).order_by(policy_versions.c.number.desc())
        if cursor is not None:
            query = query.where(policy_versions.c.number < decode_cursor(cursor, [int])[0])
        with self._db.read() as connection:
            _known(connection, tenant, name)
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [PolicyVersion(**row) for row in rows]
        return page_of(found, limit, lambda version: (version.number,))

    def alias(self, tenant: str, name: str, alias: PolicyAliasName) -> PolicyAlias:
        """Version 0 and no number for one that was never set. Raises NotFoundError for an unknown policy."""
        with self._db.read() as connection:
            _known(connection, tenant, name)
            return _alias(connection, tenant, name, alias)

    def promote(
        self,
        tenant: str,
        name: str,
        alias: PolicyAliasName,
        number: int,
        *,
        by: str,
        note: str = "",
        version: int | None = None,
    ) -> PolicyAlias:
        """Points an alias at a version. `champion` is gated: the scorecard must carry what `curator/promotion.py` asks
        for. Raises NotFoundError; ConflictError when the gate stays shut, naming every check that failed, or when
        `version` (If-Match) is not the present one."""
        with self._db.write() as connection:
            hold_manifests(connection)
            wanted = _living(connection, tenant, name, number)
            present = _locked(connection, tenant, name, alias, version)
            checks: tuple[GateCheck, ...] = ()
            if alias == "champion":
                held = present.number
                reigning = None if held is None else _version(connection, tenant, name, held).scorecard
                checks = checks_of(wanted.scorecard, reigning)
                failed = [check.told for check in checks if not check.passed]
                if failed:
                    raise ConflictError(
                        f"version {number} of {name!r} cannot become champion: {'; '.join(failed)}. Nothing was moved"
                    )
            gate = [check.model_dump() for check in checks]
            return _moved(connection, tenant, name, present, number, kind="move", by=by, note=note, gate=gate)

    def roll_back(
        self, tenant: str, name: str, alias: PolicyAliasName, *, by: str, note: str = "", version: int | None = None
    ) -> PolicyAlias:
        """Points an alias where it pointed before its last move that was not rolled back; after the first move that is
        nowhere. Ungated: what it goes back to has been there. Raises NotFoundError; ConflictError with nothing to go
        back to, when that was deleted with its run, or as `promote`."""
        with self._db.write() as connection:
            hold_manifests(connection)
            _known(connection, tenant, name)
            present = _locked(connection, tenant, name, alias, version)
            before = _before(_moves(connection, tenant, name, alias))
            if before is not None:
                _there_still(connection, tenant, name, before)
            return _moved(connection, tenant, name, present, before, kind="rollback", by=by, note=note, gate=[])

    def moves(self, tenant: str, name: str, *, cursor: str | None = None, limit: int = 100) -> Page[PolicyMove]:
        """Every move of a policy's aliases, newest first. Raises NotFoundError."""
        query = sa.select(*_MOVE).filter_by(tenant=tenant, name=name).order_by(policy_moves.c.sequence.desc())
        if cursor is not None:
            query = query.where(policy_moves.c.sequence < decode_cursor(cursor, [int])[0])
        with self._db.read() as connection:
            _known(connection, tenant, name)
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [PolicyMove(**row) for row in rows]
        return page_of(found, limit, lambda move: (move.sequence,))


def _before(moves: list[PolicyMove]) -> int | None:
    """Where an alias stood before the last of its moves that still stands. moves: oldest first."""
    standing: list[PolicyMove] = []
    for move in moves:
        if move.kind == "move":
            standing.append(move)
        elif standing:
            standing.pop()
    if not standing:
        raise ConflictError("the alias was never moved, or every move was rolled back; there is nothing to go back to")
    return standing[-1].from_number


def _moved(
    connection: sa.Connection,
    tenant: str,
    name: str,
    present: PolicyAlias,
    number: int | None,
    *,
    kind: Literal["move", "rollback"],
    by: str,
    note: str,
    gate: list[dict[str, Any]],
) -> PolicyAlias:
    """The alias at its new place, with the line that says so."""
    changes = {"number": number, "version": present.version + 1, "updated_at": now()}
    update = sa.update(policy_aliases).filter_by(tenant=tenant, name=name, alias=present.alias)
    connection.execute(update.values(**changes))
    line = {"tenant": tenant, "name": name, "alias": present.alias, "kind": kind, "by": by, "note": note, "gate": gate}
    places = {"from_number": present.number, "to_number": number}
    connection.execute(sa.insert(policy_moves).values(**line, **places, at=now()))
    after = _alias(connection, tenant, name, present.alias)
    emit(connection, tenant, "policy.moved", name, {"alias": present.alias, "kind": kind, "by": by, **places})
    return after


def _locked(
    connection: sa.Connection, tenant: str, name: str, alias: PolicyAliasName, version: int | None
) -> PolicyAlias:
    """The alias, this transaction's to move. Raises ConflictError for another version than asked for."""
    key = {"tenant": tenant, "name": name, "alias": alias}
    insert_new(connection, policy_aliases, **key, number=None, version=0, updated_at=now())
    present = _alias(connection, tenant, name, alias, lock=True)
    if version is not None and present.version != version:
        raise ConflictError(
            f"alias {alias!r} of {name!r} is at version {present.version}, the request was for {version}"
        )
    return present


def _alias(
    connection: sa.Connection, tenant: str, name: str, alias: PolicyAliasName, *, lock: bool = False
) -> PolicyAlias:
    columns = [policy_aliases.c[field] for field in PolicyAlias.model_fields]
    query = sa.select(*columns).filter_by(tenant=tenant, name=name, alias=alias)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        return PolicyAlias(alias=alias, number=None, version=0, updated_at=dt.datetime.fromtimestamp(0, dt.UTC))
    return PolicyAlias(**row)


def _moves(connection: sa.Connection, tenant: str, name: str, alias: PolicyAliasName) -> list[PolicyMove]:
    query = sa.select(*_MOVE).filter_by(tenant=tenant, name=name, alias=alias).order_by(policy_moves.c.sequence)
    return [PolicyMove(**row) for row in connection.execute(query).mappings()]


def _known(connection: sa.Connection, tenant: str, name: str) -> None:
    query = sa.select(policy_versions.c.number).filter_by(tenant=tenant, name=name).limit(1)
    if connection.execute(query).first() is None:
        raise NotFoundError(f"there is no policy {name!r}; check the name and the credential")


def _version(connection: sa.Connection, tenant: str, name: str, number: int) -> PolicyVersion:
    query = sa.select(*_VERSION).filter_by(tenant=tenant, name=name, number=number)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no version {number} of policy {name!r}; check both and the credential")
    return PolicyVersion(**row)


def _living(connection: sa.Connection, tenant: str, name: str, number: int) -> PolicyVersion:
    """A version that an alias may be moved to: one whose run was not deleted, which would take it along."""
    found = _version(connection, tenant, name, number)
    deleted = sa.select(runs.c.id).where(runs.c.id == found.run, runs.c.deleted_at.is_not(None))
    if connection.execute(deleted).first() is not None:
        raise NotFoundError(f"version {number} of policy {name!r} goes with its run, which was deleted")
    return found


def _there_still(connection: sa.Connection, tenant: str, name: str, number: int) -> None:
    try:
        _living(connection, tenant, name, number)
    except NotFoundError as error:
        raise ConflictError(
            f"the alias stood at version {number} of {name!r} before, which was deleted with its run; nothing was "
            "moved. Promote another version"
        ) from error


def _next_number(connection: sa.Connection, tenant: str, name: str) -> int:
    """One that no version has and no move names: a number that was purged with its run is never another policy's."""
    columns = (policy_versions.c.number, policy_moves.c.to_number)
    queries = [sa.select(sa.func.max(column)).filter_by(tenant=tenant, name=name) for column in columns]
    return 1 + max(connection.execute(query).scalar() or 0 for query in queries)

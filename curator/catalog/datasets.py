"""Datasets and their versions: what was registered, what its validation found.

Knows nothing of reading files; whoever validates the bytes settles the version here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.quotas import NO_LIMITS, Quota, require_room
from curator.catalog.schema import dataset_versions, datasets
from curator.errors import ConflictError, NotFoundError

__all__ = ["Dataset", "DatasetVersion", "Datasets", "VersionState"]

Task = Literal["text", "classification", "instruction"]


class VersionState(StrEnum):
    VALIDATING = "validating"
    READY = "ready"
    REJECTED = "rejected"


class Dataset(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    name: str
    task: Task
    format: str | None
    columns: dict[str, str]
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class DatasetVersion(BaseModel):
    """One immutable set of files of a dataset. `columns`: name → type; like digest, rows, bytes and statistics it is
    None until the bytes are validated. `error` says why they were rejected, `origin` where they were fetched from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    number: int
    state: VersionState
    inputs: tuple[str, ...]
    digest: str | None
    rows: int | None
    bytes: int | None
    columns: dict[str, Any] | None
    statistics: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: dt.datetime
    origin: dict[str, Any] | None = None


_COLUMNS: Final = [datasets.c[name] for name in Dataset.model_fields]
_VERSION_COLUMNS: Final = [dataset_versions.c[name] for name in DatasetVersion.model_fields]


class Datasets:
    def __init__(self, database: Database):
        self._db = database

    def create(
        self,
        tenant: str,
        name: str,
        task: Task,
        columns: Mapping[str, str],
        inputs: Sequence[str],
        *,
        format: str | None = None,
        dataset_id: str | None = None,
        origin: Mapping[str, Any] | None = None,
        quota: Quota = NO_LIMITS,
    ) -> tuple[Dataset, DatasetVersion]:
        """A dataset and its version 1, to be validated. `columns`: role → name (`{"text": "body"}`). `origin`: where
        its bytes are still to be fetched from. Raises QuotaError for one dataset too many."""
        values = {
            "id": dataset_id or new_id("ds"),
            "tenant": tenant,
            "name": name,
            "task": task,
            "format": format,
            "columns": dict(columns),
            "version": 1,
            "created_at": now(),
            "updated_at": now(),
        }
        with self._db.write() as connection:
            if insert_new(connection, datasets, **values):
                _insert_version(connection, str(values["id"]), 1, inputs, origin)
                require_room(connection, tenant, quota, datasets=1)
            dataset = _dataset(connection, tenant, str(values["id"]))
            return dataset, _version(connection, dataset.id, 1)

    def get(self, tenant: str, dataset_id: str) -> Dataset:
        """Raises NotFoundError, for deleted datasets too."""
        with self._db.read() as connection:
            return _dataset(connection, tenant, dataset_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[Dataset]:
        """The tenant's datasets, newest first."""
        query = sa.select(*_COLUMNS).where(datasets.c.tenant == tenant, datasets.c.deleted_at.is_(None))
        if cursor is not None:
            query = query.where(datasets.c.id < decode_cursor(cursor, [str])[0])
        query = query.order_by(datasets.c.id.desc()).limit(checked_limit(limit) + 1)
        with self._db.read() as connection:
            found = [Dataset(**row) for row in connection.execute(query).mappings()]
        return page_of(found, limit, lambda dataset: (dataset.id,))

    def add_version(
        self, tenant: str, dataset_id: str, inputs: Sequence[str], *, origin: Mapping[str, Any] | None = None
    ) -> DatasetVersion:
        """The next version, to be validated; `origin` as of `create`. Raises NotFoundError."""
        with self._db.write() as connection:
            _dataset(connection, tenant, dataset_id)
            newest = sa.select(sa.func.max(dataset_versions.c.number)).where(dataset_versions.c.dataset == dataset_id)
            number = connection.execute(newest).scalar_one() + 1
            _insert_version(connection, dataset_id, number, inputs, origin)
            _touch(connection, dataset_id)
            return _version(connection, dataset_id, number)

    def version(self, tenant: str, dataset_id: str, number: int | None = None) -> DatasetVersion:
        """A version, the newest if no number is given. Raises NotFoundError."""
        with self._db.read() as connection:
            _dataset(connection, tenant, dataset_id, lock=False)
            return _version(connection, dataset_id, number)

    def usable_version(self, tenant: str, dataset_id: str) -> DatasetVersion:
        """The newest version that is ready; while none is, the newest. Raises NotFoundError."""
        ready = sa.select(sa.func.max(dataset_versions.c.number))
        ready = ready.where(dataset_versions.c.dataset == dataset_id, dataset_versions.c.state == VersionState.READY)
        with self._db.read() as connection:
            _dataset(connection, tenant, dataset_id, lock=False)
            return _version(connection, dataset_id, connection.execute(ready).scalar())

    def versions(
        self, tenant: str, dataset_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[DatasetVersion]:
        """A dataset's versions, newest first. Raises NotFoundError."""
        query = sa.select(*_VERSION_COLUMNS).where(dataset_versions.c.dataset == dataset_id)
        if cursor is not None:
            query = query.where(dataset_versions.c.number < decode_cursor(cursor, [int])[0])
        query = query.order_by(dataset_versions.c.number.desc()).limit(checked_limit(limit) + 1)
        with self._db.read() as connection:
            _dataset(connection, tenant, dataset_id, lock=False)
            found = [DatasetVersion(**row) for row in connection.execute(query).mappings()]
        return page_of(found, limit, lambda version: (version.number,))

    def fetched(
        self, tenant: str, dataset_id: str, number: int, inputs: Sequence[str], origin: Mapping[str, Any]
    ) -> DatasetVersion:
        """The bytes are here now, at `inputs`; `origin` tells what they were. Raises as `accept` does."""
        with self._db.write() as connection:
            _unsettled(connection, tenant, dataset_id, number)
            mine = sa.update(dataset_versions).filter_by(dataset=dataset_id, number=number)
            connection.execute(mine.values(inputs=list(inputs), origin=dict(origin)))
            return _version(connection, dataset_id, number)

    def accept(
        self,
        tenant: str,
        dataset_id: str,
        number: int,
        *,
        digest: str,
        rows: int,
        bytes: int,
        columns: Mapping[str, Any],
        statistics: Mapping[str, Any],
    ) -> DatasetVersion:
        """Validation went well. `columns`: name → type. Raises NotFoundError; ConflictError if already settled."""
        found = {"digest": digest, "rows": rows, "bytes": bytes, "columns": dict(columns)}
        return self._settle(tenant, dataset_id, number, VersionState.READY, statistics=dict(statistics), **found)

    def reject(self, tenant: str, dataset_id: str, number: int, *, code: str, message: str) -> DatasetVersion:
        """Validation refused the bytes. Raises NotFoundError; ConflictError if already settled."""
        error = {"code": code, "message": message}
        return self._settle(tenant, dataset_id, number, VersionState.REJECTED, error=error)

    def delete(self, tenant: str, dataset_id: str) -> None:
        """Hides a dataset; runs and manifests made from it stay. Raises NotFoundError."""
        with self._db.write() as connection:
            _dataset(connection, tenant, dataset_id)
            _touch(connection, dataset_id, deleted_at=now())

    def _settle(self, tenant: str, dataset_id: str, number: int, state: VersionState, **found: Any) -> DatasetVersion:
        with self._db.write() as connection:
            _unsettled(connection, tenant, dataset_id, number)
            key = {"dataset": dataset_id, "number": number}
            connection.execute(sa.update(dataset_versions).filter_by(**key).values(state=state, **found))
            _touch(connection, dataset_id)
            return _version(connection, dataset_id, number)


def _dataset(connection: sa.Connection, tenant: str, dataset_id: str, *, lock: bool = True) -> Dataset:
    mine = sa.and_(datasets.c.id == dataset_id, datasets.c.tenant == tenant, datasets.c.deleted_at.is_(None))
    query = sa.select(*_COLUMNS).where(mine)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no dataset {dataset_id!r}; check the id and the credential")
    return Dataset(**row)


def _unsettled(connection: sa.Connection, tenant: str, dataset_id: str, number: int) -> None:
    _dataset(connection, tenant, dataset_id)
    present = _version(connection, dataset_id, number)
    if present.state != VersionState.VALIDATING:
        raise ConflictError(f"version {number} of {dataset_id} is {present.state} already; versions are final")


def _version(connection: sa.Connection, dataset_id: str, number: int | None) -> DatasetVersion:
    query = sa.select(*_VERSION_COLUMNS).where(dataset_versions.c.dataset == dataset_id)
    query = query.order_by(dataset_versions.c.number.desc()).limit(1)
    if number is not None:
        query = query.where(dataset_versions.c.number == number)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"dataset {dataset_id} has no version {number}; list its versions")
    return DatasetVersion(**row)


def _insert_version(
    connection: sa.Connection,
    dataset_id: str,
    number: int,
    inputs: Sequence[str],
    origin: Mapping[str, Any] | None = None,
) -> None:
    values = {"dataset": dataset_id, "number": number, "state": VersionState.VALIDATING, "inputs": list(inputs)}
    values["origin"] = None if origin is None else dict(origin)
    connection.execute(sa.insert(dataset_versions).values(created_at=now(), **values))


def _touch(connection: sa.Connection, dataset_id: str, **values: object) -> None:
    changes = {"version": datasets.c.version + 1, "updated_at": now(), **values}
    connection.execute(sa.update(datasets).where(datasets.c.id == dataset_id).values(**changes))

"""Uploads: a file on its way in, part by part, so that a broken line costs one part.

Knows nothing of where the bytes lie; the API streams them to the store and records here what has arrived. Parts are
numbered from 0 in here and from 1 in messages, as callers number them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.quotas import NO_LIMITS, Quota, require_room
from curator.catalog.schema import upload_parts, uploads
from curator.errors import ConflictError, IntegrityError, NotFoundError, RequestError

__all__ = ["Upload", "UploadPart", "UploadState", "Uploads"]


class UploadState(StrEnum):
    OPEN = "open"
    COMPLETE = "complete"
    DELETED = "deleted"


class Upload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    name: str
    size_bytes: int
    part_bytes: int
    sha256: str
    state: UploadState
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def num_parts(self) -> int:
        return -(-self.size_bytes // self.part_bytes)

    def part_size(self, number: int) -> int:
        """Bytes of part `number` (from 0). Raises RequestError for a part the file does not have."""
        if not 0 <= number < self.num_parts:
            raise RequestError(f"upload {self.id} has parts 1..{self.num_parts}, not {number + 1}")
        return min(self.part_bytes, self.size_bytes - number * self.part_bytes)


class UploadPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    size_bytes: int
    sha256: str


_PART_COLUMNS: Final = [upload_parts.c[name] for name in UploadPart.model_fields]
_BY_STATEMENT: Final = 500
"""Ids in one statement: databases take tens of thousands of parameters, not any number."""


class Uploads:
    def __init__(self, database: Database):
        self._db = database

    def create(
        self,
        tenant: str,
        name: str,
        size_bytes: int,
        sha256: str,
        *,
        part_bytes: int,
        quota: Quota = NO_LIMITS,
        upload_id: str | None = None,
    ) -> Upload:
        """Opens an upload. Raises RequestError for an empty file, SpaceQuotaError when the tenant's uploads, open ones
        included, would exceed the quota."""
        if size_bytes <= 0 or part_bytes <= 0:
            raise RequestError(f"an upload of {size_bytes} bytes in parts of {part_bytes} cannot be opened")
        values = {
            "id": upload_id or new_id("upl"),
            "tenant": tenant,
            "name": name,
            "size_bytes": size_bytes,
            "part_bytes": part_bytes,
            "sha256": sha256.lower(),
            "state": UploadState.OPEN,
            "version": 1,
            "created_at": now(),
            "updated_at": now(),
        }
        with self._db.write() as connection:
            if insert_new(connection, uploads, **values):
                require_room(connection, tenant, quota, upload_bytes=size_bytes)
            return _locked(connection, tenant, str(values["id"]))

    def get(self, tenant: str, upload_id: str) -> Upload:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _locked(connection, tenant, upload_id, lock=False)

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[Upload]:
        """The tenant's uploads, newest first, without deleted ones."""
        mine = sa.and_(uploads.c.tenant == tenant, uploads.c.state != UploadState.DELETED)
        query = sa.select(uploads).where(mine).order_by(uploads.c.id.desc()).limit(checked_limit(limit) + 1)
        if cursor is not None:
            query = query.where(uploads.c.id < decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            found = [Upload(**row) for row in connection.execute(query).mappings()]
        return page_of(found, limit, lambda upload: (upload.id,))

    def bytes_in_use(self, tenant: str) -> int:
        """Bytes the tenant's uploads take or have reserved."""
        with self._db.read() as connection:
            return _bytes_of(connection, tenant)

    def parts(self, tenant: str, upload_id: str) -> list[UploadPart]:
        """The parts that have arrived, by number. Raises NotFoundError."""
        query = sa.select(*_PART_COLUMNS).where(upload_parts.c.upload == upload_id).order_by(upload_parts.c.number)
        with self._db.read() as connection:
            _locked(connection, tenant, upload_id, lock=False)
            return [UploadPart(**row) for row in connection.execute(query).mappings()]

    def record_part(self, tenant: str, upload_id: str, number: int, size_bytes: int, sha256: str) -> None:
        """A part has arrived whole; sending it again replaces it.

        Raises NotFoundError, ConflictError unless the upload is open, RequestError for a part of another size.
        """
        with self._db.write() as connection:
            upload = _open(_locked(connection, tenant, upload_id))
            announced = upload.part_size(number)
            if size_bytes != announced:
                told = f"part {number + 1} of {upload_id} has {size_bytes} bytes"
                raise RequestError(f"{told}, {announced} were announced")
            key = {"upload": upload_id, "number": number}
            connection.execute(sa.delete(upload_parts).filter_by(**key))
            values = {**key, "size_bytes": size_bytes, "sha256": sha256, "created_at": now()}
            connection.execute(sa.insert(upload_parts).values(**values))
            _touch(connection, upload_id)

    def complete(self, tenant: str, upload_id: str, sha256: str) -> Upload:
        """Closes an upload whose bytes hash to `sha256`; again changes nothing.

        Raises NotFoundError, ConflictError naming the missing parts, IntegrityError for another hash.
        """
        with self._db.write() as connection:
            upload = _locked(connection, tenant, upload_id)
            if upload.state == UploadState.COMPLETE:
                return upload
            _open(upload)
            arrived = sa.select(upload_parts.c.number).where(upload_parts.c.upload == upload_id)
            missing = sorted(set(range(upload.num_parts)) - set(connection.execute(arrived).scalars()))
            if missing:
                shown = ", ".join(str(number + 1) for number in missing[:10]) + (" …" if len(missing) > 10 else "")
                told = f"misses {len(missing)} of {upload.num_parts} parts ({shown})"
                raise ConflictError(f"upload {upload_id} {told}; send them first")
            if sha256.lower() != upload.sha256:
                raise IntegrityError(
                    f"upload {upload_id} hashes to {sha256}, {upload.sha256} was announced; send the parts again"
                )
            _touch(connection, upload_id, state=UploadState.COMPLETE)
            return _locked(connection, tenant, upload_id)

    def abandoned(self, quiet_s: float) -> list[Upload]:
        """Open uploads of every tenant that nothing has come for in so many seconds; they hold quota all the while."""
        quiet = sa.and_(uploads.c.state == UploadState.OPEN, uploads.c.updated_at < now() - quiet_s)
        with self._db.read() as connection:
            rows = connection.execute(sa.select(uploads).where(quiet).order_by(uploads.c.id)).mappings()
            return [Upload(**row) for row in rows]

    def missing(self, upload_ids: Collection[str]) -> set[str]:
        """Those of the ids that no upload of any tenant has, or a deleted one."""
        asked, there = list(upload_ids), set[str]()
        with self._db.read() as connection:
            for start in range(0, len(asked), _BY_STATEMENT):
                part = uploads.c.id.in_(asked[start : start + _BY_STATEMENT])
                query = sa.select(uploads.c.id).where(part, uploads.c.state != UploadState.DELETED)
                there.update(connection.execute(query).scalars())
        return set(asked) - there

    def delete(self, tenant: str, upload_id: str) -> Upload:
        """Forgets an upload and frees its quota; the caller removes the bytes. Raises NotFoundError."""
        with self._db.write() as connection:
            _locked(connection, tenant, upload_id)
            connection.execute(sa.delete(upload_parts).where(upload_parts.c.upload == upload_id))
            _touch(connection, upload_id, state=UploadState.DELETED)
            row = connection.execute(sa.select(uploads).where(uploads.c.id == upload_id)).mappings().one()
        return Upload(**row)


def _locked(connection: sa.Connection, tenant: str, upload_id: str, *, lock: bool = True) -> Upload:
    query = sa.select(uploads).where(uploads.c.id == upload_id, uploads.c.tenant == tenant)
    query = query.where(uploads.c.state != UploadState.DELETED)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no upload {upload_id!r}; check the id and the credential")
    return Upload(**row)


def _open(upload: Upload) -> Upload:
    if upload.state != UploadState.OPEN:
        raise ConflictError(f"upload {upload.id} is {upload.state} and takes no more parts")
    return upload


def _touch(connection: sa.Connection, upload_id: str, **values: object) -> None:
    changes = {"version": uploads.c.version + 1, "updated_at": now(), **values}
    connection.execute(sa.update(uploads).where(uploads.c.id == upload_id).values(**changes))


def _bytes_of(connection: sa.Connection, tenant: str) -> int:
    mine = sa.and_(uploads.c.tenant == tenant, uploads.c.state != UploadState.DELETED)
    return int(
        connection.execute(sa.select(sa.func.coalesce(sa.func.sum(uploads.c.size_bytes), 0)).where(mine)).scalar_one()
    )

"""Tenants and their API keys: the secret is shown once and kept only as a hash.

Knows nothing of HTTP headers. A key is 256 random bits, so one SHA-256 is enough; slow hashes are for passwords.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from curator.catalog.database import Database, insert_new, now
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.schema import api_keys, tenants
from curator.digest import sha256_hex
from curator.errors import NotFoundError

__all__ = ["LOCAL_TENANT", "ApiKey", "Keys", "Scope", "Tenant"]

LOCAL_TENANT: Final = "local"
"""The tenant of runs made without a server; a fresh catalog has it."""

_SHOWN: Final = 12
_USE_WRITTEN_EVERY_S: Final = 60.0


class Scope(StrEnum):
    """What a key may do. ADMIN may do everything, keys of its tenant included."""

    READ = "read"
    WRITE = "write"
    REVIEW = "review"
    FEEDBACK = "feedback"
    PROMOTE = "promote"
    ADMIN = "admin"


class Tenant(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    created_at: dt.datetime


class ApiKey(BaseModel):
    """A key without its secret; `prefix` is the part that may be shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    name: str
    prefix: str
    scopes: frozenset[Scope]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


_COLUMNS: Final = [api_keys.c[name] for name in ApiKey.model_fields]


class Keys:
    """Who may speak to the service."""

    def __init__(self, database: Database):
        self._db = database

    def tenant(self, name: str) -> Tenant:
        """The tenant of that name, made if it is new."""
        with self._db.write() as connection:
            insert_new(connection, tenants, id=new_id("tnt"), name=name, created_at=now())
            row = connection.execute(sa.select(tenants).where(tenants.c.name == name)).mappings().one()
        return Tenant(**{name: row[name] for name in Tenant.model_fields})

    def tenant_named(self, name: str) -> Tenant:
        """The tenant of that name. Raises NotFoundError: a name from outside makes none."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(tenants).where(tenants.c.name == name)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no tenant named {name!r}; ask whoever runs the server for one")
        return Tenant(**{name: row[name] for name in Tenant.model_fields})

    def create(
        self,
        tenant: str,
        name: str,
        scopes: Collection[Scope],
        *,
        ttl_s: float | None = None,
        key_id: str | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which cannot be read again. `ttl_s` None: it does not expire. Made again under one
        `key_id`, because nobody heard of the first time, it has another secret and the first one opens nothing."""
        with self._db.write() as connection:
            return _insert(connection, tenant, name, scopes, ttl_s, key_id or new_id("key"))

    def bootstrap(self, tenant: str = LOCAL_TENANT) -> str | None:
        """The secret of a first admin key, once in a catalog's life; None when any key was ever made."""
        with self._db.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE"))
            if connection.execute(sa.select(api_keys.c.id).limit(1)).first() is not None:
                return None
            return _insert(connection, tenant, "first admin key", [Scope.ADMIN], None, new_id("key"))[1]

    def get(self, tenant: str, key_id: str) -> ApiKey:
        """A key, revoked or not. Raises NotFoundError."""
        query = sa.select(*_COLUMNS).where(api_keys.c.id == key_id, api_keys.c.tenant == tenant)
        with self._db.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise _unknown(key_id)
        return ApiKey(**row)

    def authenticate(self, secret: str) -> ApiKey | None:
        """The key with this secret; None if unknown, expired or revoked. The time of use is written once a minute."""
        digest = sha256_hex(secret.encode())
        stale = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < now() - _USE_WRITTEN_EVERY_S)
        query = sa.select(*_COLUMNS, stale.label("stale")).where(
            api_keys.c.sha256 == digest,
            api_keys.c.revoked_at.is_(None),
            sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()),
        )
        with self._db.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        key = ApiKey(**{name: row[name] for name in ApiKey.model_fields})
        if row["stale"]:
            with self._db.write() as connection:
                connection.execute(sa.update(api_keys).where(api_keys.c.id == key.id).values(last_used_at=now()))
        return key

    def still_open(self, key_ids: Collection[str]) -> set[str]:
        """Those of the keys that are neither revoked nor expired."""
        query = sa.select(api_keys.c.id).where(
            api_keys.c.id.in_(key_ids),
            api_keys.c.revoked_at.is_(None),
            sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()),
        )
        with self._db.read() as connection:
            return set(connection.execute(query).scalars())

    def of_tenant(self, tenant: str) -> list[ApiKey]:
        """All keys of a tenant, revoked ones too, oldest first."""
        query = sa.select(*_COLUMNS).where(api_keys.c.tenant == tenant).order_by(api_keys.c.id)
        with self._db.read() as connection:
            return [ApiKey(**row) for row in connection.execute(query).mappings()]

    def page(self, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[ApiKey]:
        """The same in pages."""
        query = sa.select(*_COLUMNS).where(api_keys.c.tenant == tenant).order_by(api_keys.c.id)
        if cursor is not None:
            query = query.where(api_keys.c.id > decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [ApiKey(**row) for row in rows]
        return page_of(found, limit, lambda key: (key.id,))

    def revoke(self, tenant: str, key_id: str) -> None:
        """From now on the key opens nothing. Raises NotFoundError."""
        mine = sa.and_(api_keys.c.id == key_id, api_keys.c.tenant == tenant)
        first_time = sa.func.coalesce(api_keys.c.revoked_at, now())
        with self._db.write() as connection:
            if connection.execute(sa.update(api_keys).where(mine).values(revoked_at=first_time)).rowcount == 0:
                raise _unknown(key_id)


def _unknown(key_id: str) -> NotFoundError:
    return NotFoundError(f"there is no API key {key_id!r}; list the keys to see their ids")


def _insert(
    connection: sa.Connection, tenant: str, name: str, scopes: Collection[Scope], ttl_s: float | None, key_id: str
) -> tuple[ApiKey, str]:
    secret = f"wnw_{secrets.token_urlsafe(32)}"
    shown = {"prefix": secret[:_SHOWN], "sha256": sha256_hex(secret.encode())}
    values = {
        "id": key_id,
        "tenant": tenant,
        "name": name,
        "scopes": sorted(Scope(scope) for scope in scopes),
        "created_at": now(),
        "expires_at": None if ttl_s is None else now() + ttl_s,
    }
    mine = sa.and_(api_keys.c.id == key_id, api_keys.c.tenant == tenant)
    if not insert_new(connection, api_keys, **values, **shown):
        connection.execute(sa.update(api_keys).where(mine).values(**shown))
    row = connection.execute(sa.select(*_COLUMNS).where(mine)).mappings().one()
    return ApiKey(**row), secret

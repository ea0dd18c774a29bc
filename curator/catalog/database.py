"""The catalog's door to its database: SQLite for one machine, PostgreSQL for many, one clock and one way to write.

Knows nothing of runs, keys or any other noun; knows connections, transactions, the clock and the migrations.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from curator.errors import DiskFullError, NotFoundError, RequestError, RetryableError, TransportError, WinnowError
from curator.storage import Store

__all__ = [
    "BUSY_TIMEOUT_S",
    "HEAD",
    "Database",
    "Instant",
    "hold_claims",
    "hold_event_order",
    "hold_manifests",
    "insert_new",
    "ignoring",
    "now",
]

HEAD: Final = "0006"
"""The newest migration; `tests/curator/catalog/test_migrations.py` holds it against the migrations on disk."""

BUSY_TIMEOUT_S: Final = 20.0
"""How long a SQLite writer waits for another one. Transactions here take milliseconds, so a longer wait is a fault."""

_MIGRATION_LOCK, _EVENT_LOCK, _CLAIM_LOCK, _MANIFEST_LOCK = 7_700_001, 7_700_002, 7_700_003, 7_700_004
_WRITE: Final = "winnow_write"


class Instant(sa.types.TypeDecorator[dt.datetime]):
    """A moment, stored as seconds since 1970 UTC in a double (microseconds survive), read as an aware datetime."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> float | None:
        return value.timestamp() if isinstance(value, dt.datetime) else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dt.datetime | None:
        return None if value is None else dt.datetime.fromtimestamp(float(value), dt.UTC)


class now(sa.sql.functions.FunctionElement[float]):
    """SQL: the database's clock in seconds since 1970. Leases are compared with this and with nothing else, so two
    machines whose clocks differ still agree on who owns a run."""

    type = sa.Double()
    name = "winnow_now"
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **kw: Any) -> str:
    # Milliseconds, which is what its clock has; unixepoch('subsec') needs SQLite 3.42.
    return "ROUND((julianday('now') - 2440587.5) * 86400.0, 3)"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: Any, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def insert_new(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Inserts a row unless its key is taken; says whether it did. (Not by rowcount: drivers do not keep it here.)"""
    statement = ignoring(connection, table).values(**values).returning(sa.literal(1))
    return connection.execute(statement).first() is not None


def ignoring(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that leaves rows alone whose key is taken."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        return pg_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table).on_conflict_do_nothing()


def hold_event_order(connection: sa.Connection) -> None:
    """From here to the end of the transaction no other transaction writes an event, so event numbers become visible
    in order and a reader that has seen n never misses one below n. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _EVENT_LOCK})


def hold_claims(connection: sa.Connection) -> None:
    """From here to the end of the transaction nobody else counts who works on what. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})


def hold_manifests(connection: sa.Connection, *, alone: bool = False) -> None:
    """From here to the end of the transaction no manifest is forgotten; `alone`: none is entered either. SQLite has one
    writer anyway."""
    if connection.dialect.name == "postgresql":
        shared = "" if alone else "_shared"
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock{shared}(:key)"), {"key": _MANIFEST_LOCK})


class Database:
    """One engine, opened and migrated. Threads share it; a process that forks opens its own."""

    def __init__(self, engine: sa.Engine):
        self.engine = engine
        self._write_engine = engine.execution_options(**{_WRITE: True})
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._read_engine = engine.execution_options(**snapshot) if engine.name == "postgresql" else engine

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, create: bool = True) -> Database:
        """Opens `sqlite:///path` or `postgresql+psycopg://…` and brings its tables to the newest form. Without `create`
        a SQLite file must be there already, and nothing is written where it is not.

        Raises RequestError for another kind of URL or a database written by a newer Winnow, NotFoundError for a file
        that is not there, TransportError when the server does not answer.
        """
        parsed = _parse(url)
        if not create and parsed.get_backend_name() == "sqlite" and not os.path.isfile(str(parsed.database)):
            raise NotFoundError(f"there is no catalog {os.path.abspath(str(parsed.database))}; nothing was written")
        database = cls(_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed))
        if migrate:
            database.migrate()
        return database

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot to read from. Writers are not held up by it."""
        with _translated(self.engine), self._read_engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes: all of it or nothing. On SQLite it holds the one write lock from its start
        (BEGIN IMMEDIATE), so what it reads cannot change under it; on PostgreSQL rows are locked by the statements.

        Raises RetryableError when the lock was not free in time, DiskFullError when the disk is full.
        """
        with _translated(self.engine), self._write_engine.begin() as connection:
            yield connection

    def clock(self) -> dt.datetime:
        """The database's time."""
        with self.read() as connection:
            return dt.datetime.fromtimestamp(connection.execute(sa.select(now())).scalar_one(), dt.UTC)

    def revision(self) -> str | None:
        """The migration the database stands at; None for an empty one."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()

    def migrate(self, target: str = "head") -> None:
        """Brings the tables to `target`: a revision, older or newer, `head`, or `base` for none at all. Down, what the
        older tables have no place for is lost. Safe to call from many processes at once: one does it, the others wait.
        Raises RequestError when the database is newer than this program, or knows no such revision."""
        if target == "head" and self.revision() == HEAD:
            return
        from curator.catalog.migrations import run_migrations  # alembic is only loaded when there is work for it

        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            run_migrations(connection, target)

    def close(self) -> None:
        self.engine.dispose()


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise RequestError(
            "the database URL cannot be read; give sqlite:///path/winnow.db or postgresql+psycopg://user@host/name"
        ) from error
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"):
        raise RequestError(
            f"database kind {parsed.drivername!r} is not served; use sqlite:///… or postgresql+psycopg://…"
        )
    if parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise RequestError("the catalog must outlive a process, so SQLite in memory is refused; give a file")
    return parsed


def _sqlite(url: sa.URL) -> sa.Engine:
    folder = os.path.dirname(os.path.abspath(str(url.database)))
    Store.open(folder).require_writable()
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:  # a file system that lets nobody make folders
        raise RequestError(f"cannot make the folder {folder}: {error.strerror}; name another one") from error
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_size=16,
        max_overflow=32,
        json_serializer=_json,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged run survives a power cut
        _write_ahead_log(connection)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _write_ahead_log(connection: sqlite3.Connection) -> None:
    """Readers and the one writer do not wait for each other in WAL mode. Switching a new file over ignores the busy
    timeout when two processes try at once, hence the loop; on a file that is already switched it costs nothing."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=16, json_serializer=_json)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)  # NaN is no JSON, and PostgreSQL refuses it


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        raise _fault(error, engine.url) from error
    except sa.exc.TimeoutError as error:
        raise RetryableError("every connection to the catalog is busy; try again in a moment") from error


def _fault(error: sa.exc.OperationalError, url: sa.URL) -> WinnowError:
    said, place = str(error.orig), url.render_as_string(hide_password=True)
    if "disk is full" in said or "No space left" in said:
        return DiskFullError(f"no space left for the catalog {place}; free some and try again")
    if "locked" in said or "busy" in said:
        return RetryableError(f"the catalog {place} was locked for {BUSY_TIMEOUT_S:g} s by another process; try again")
    if "deadlock detected" in said:
        return RetryableError(f"the catalog {place} broke a tie between two transactions; try again")
    return TransportError(f"the catalog {place} does not answer: {said.strip()}; check that it runs and is reachable")

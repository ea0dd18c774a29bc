"""Transactions, the clock, and what each fault of a database is called."""

from __future__ import annotations

import datetime as dt
import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog
from curator.catalog import database as module
from curator.catalog.database import Database
from curator.catalog.schema import tenants
from curator.errors import DiskFullError, NotFoundError, RequestError, RetryableError, TransportError


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u@h/d", "postgresql+psycopg2://h/d", "?"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(RequestError, match=r"sqlite|refused|served"):
        Database.open(url)


def test_a_folder_that_cannot_be_made_is_a_wrong_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As below /proc, where root has every permission and can make nothing."""

    def refuse(path: str, **how: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(RequestError, match=r"cannot make the folder .+/new: No such file or directory; name another"):
        Database.open(f"sqlite:///{tmp_path}/new/winnow.db")


def test_a_silent_server_is_a_transport_error_that_keeps_the_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://me:hush@/db?host={tmp_path}"
    with pytest.raises(TransportError) as caught:
        Database.open(url)
    assert "hush" not in str(caught.value)
    assert "check that it runs" in str(caught.value)


def test_the_clock_is_the_databases(catalog: Catalog) -> None:
    apart = catalog.database.clock() - dt.datetime.now(dt.UTC)
    assert abs(apart) < dt.timedelta(seconds=2)


def test_the_file_is_in_wal_mode_with_full_sync(sqlite: Catalog) -> None:
    with sqlite.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_an_error_undoes_the_whole_transaction(catalog: Catalog) -> None:
    with pytest.raises(ZeroDivisionError), catalog.database.write() as connection:
        connection.execute(sa.insert(tenants).values(id="tnt_x", name="x", created_at=0.0))
        raise ZeroDivisionError
    with catalog.database.read() as connection:
        assert connection.execute(sa.select(tenants.c.id)).scalars().all() == ["local"]


def test_a_reader_does_not_wait_for_a_writer_and_sees_nothing_unfinished(sqlite: Catalog) -> None:
    with sqlite.database.write() as writer:
        writer.execute(sa.insert(tenants).values(id="tnt_x", name="x", created_at=0.0))
        with sqlite.database.read() as reader:
            assert reader.execute(sa.select(sa.func.count()).select_from(tenants)).scalar() == 1


def test_what_a_writer_read_cannot_change_under_it(sqlite: Catalog) -> None:
    """Read, think, write in four threads: without the write lock at the start updates would be lost or refused."""
    with sqlite.database.write() as connection:
        connection.execute(sa.insert(tenants).values(id="tnt_n", name="0", created_at=0.0))

    def count() -> None:
        for _ in range(10):
            with sqlite.database.write() as connection:
                value = int(connection.execute(sa.select(tenants.c.name).where(tenants.c.id == "tnt_n")).scalar_one())
                connection.execute(sa.update(tenants).where(tenants.c.id == "tnt_n").values(name=str(value + 1)))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sqlite.database.read() as connection:
        assert connection.execute(sa.select(tenants.c.name).where(tenants.c.id == "tnt_n")).scalar() == "40"


def test_a_lock_that_stays_is_retryable(sqlite: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    other = Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}")
    with sqlite.database.write(), pytest.raises(RetryableError, match="locked"):
        other.keys.tenant("somebody")
    other.close()


def test_a_full_disk_is_named(sqlite: Catalog) -> None:
    with pytest.raises(DiskFullError, match="free some"), sqlite.database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for number in range(1000):
            values = {"id": f"tnt_{number}", "name": "n" * 1000 + str(number), "created_at": 0.0}
            connection.execute(sa.insert(tenants).values(**values))


def test_many_may_open_a_new_catalog_at_once(tmp_path: Path) -> None:
    url, faults = f"sqlite:///{tmp_path / 'new' / 'winnow.db'}", []

    def open_it() -> None:
        try:
            Catalog.open(url).close()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with sqlite3.connect(tmp_path / "new" / "winnow.db") as connection:
        assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (1,)
    connection.close()


def test_a_catalog_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'root' / 'winnow.db'}"
    with pytest.raises(NotFoundError, match="no catalog"):
        Database.open(url, create=False)
    assert list(tmp_path.iterdir()) == []
    Database.open(url).close()
    Database.open(url, create=False).close()

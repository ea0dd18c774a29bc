"""Catalogs to test on, each fresh: `sqlite`, `postgresql`, and `catalog`, which is the one and then the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, ClaimedRun
from curator.catalog.database import Database
from curator.catalog.schema import runs
from curator.run import RunRequest, RunSummary
from curator.sealing import Seal
from tests.postgresql import database

REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy; migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("catalog") / "winnow.db"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def empty_postgresql(postgresql_server: str) -> Iterator[str]:
    """The name of a migrated PostgreSQL database to copy."""
    with database(postgresql_server) as url:
        Catalog.open(url).close()
        yield str(sa.make_url(url).database)


@pytest.fixture
def sqlite(empty_catalog: Path, tmp_path: Path) -> Iterator[Catalog]:
    shutil.copy(empty_catalog, tmp_path / "winnow.db")
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as opened:
        opened.webhooks.sealed_with(Seal(b"k" * 32))
        yield opened


@pytest.fixture
def postgresql(postgresql_server: str, empty_postgresql: str) -> Iterator[Catalog]:
    with database(postgresql_server, empty_postgresql) as url, Catalog.open(url) as opened:
        opened.webhooks.sealed_with(Seal(b"k" * 32))
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return request.getfixturevalue(request.param)


@pytest.fixture
def request_() -> RunRequest:
    return REQUEST


@pytest.fixture
def summary() -> RunSummary:
    return RunSummary(
        run="run_1",
        manifest="man_1",
        ledger="ledger",
        rows_in=3,
        kept=2,
        dropped=1,
        relabeled=0,
        reasons={"near_duplicate": 1},
        difficulty={"easy": 2, "medium": 0, "hard": 0},
        policy="rules",
        seconds=0.5,
        seconds_by_phase={"score": 0.25},
        peak_rss_bytes=1024,
    )


class TimeMachine:
    """Lets leases run out without waiting for it."""

    def __init__(self, database: Database):
        self.database = database

    def expire(self, run: ClaimedRun | str) -> None:
        """The database's clock is now past the run's lease."""
        run_id = run if isinstance(run, str) else run.id
        with self.database.write() as connection:
            past = runs.c.created_at - 3600.0
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(lease_until=past))


@pytest.fixture
def time_machine(catalog: Catalog) -> TimeMachine:
    return TimeMachine(catalog.database)

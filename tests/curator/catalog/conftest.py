"""Catalogs to test on: a fresh SQLite file, and a PostgreSQL server of the tests' own where it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, ClaimedRun
from curator.catalog.database import Database
from curator.catalog.schema import runs
from curator.run import RunRequest, RunSummary

REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy; migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("catalog") / "winnow.db"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def catalog(empty_catalog: Path, tmp_path: Path) -> Iterator[Catalog]:
    shutil.copy(empty_catalog, tmp_path / "winnow.db")
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as opened:
        yield opened


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


def _programs() -> Path | None:
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


def _account() -> str | None:
    """PostgreSQL refuses to run as root; None: this user will do."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server that lives as long as the tests."""
    programs, account = _programs(), _account()
    if programs is None:
        pytest.skip("no PostgreSQL programs here (initdb is neither on PATH nor under /usr/lib/postgresql)")
    if os.geteuid() == 0 and account is None:
        pytest.skip("PostgreSQL does not run as root and there is no account postgres or nobody to run it as")
    folder = Path(tempfile.mkdtemp(prefix="winnow-pg-"))
    if account is not None:
        shutil.chown(folder, account)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(command, user=account, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    try:
        run("initdb", "-U", "winnow", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield str(folder)
        run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """A fresh, empty database."""
    name = f"winnow_{uuid.uuid4().hex[:12]}"
    server = f"postgresql+psycopg://winnow@/{{}}?host={postgresql_server}"
    engine = sa.create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return server.format(name)


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Catalog]:
    with Catalog.open(postgresql_url) as opened:
        yield opened

"""A PostgreSQL server of the tests' own, where its programs are installed: one for all tests, a database for each.

Where it is not, its tests are skipped, or fail if REQUIRE_POSTGRESQL says so (`.ci/run`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa


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


def missing(what: str) -> NoReturn:
    """Skips; fails where somebody relies on these tests."""
    if os.environ.get("REQUIRE_POSTGRESQL"):
        pytest.fail(f"{what}, and REQUIRE_POSTGRESQL is set: install the package postgresql")
    pytest.skip(what)


@contextmanager
def database(server: str, template: str = "template1") -> Iterator[str]:
    """A fresh database, a copy of `template`, as long as this lasts: its URL."""
    name, url = f"winnow_{uuid.uuid4().hex[:12]}", f"postgresql+psycopg://winnow@/{{}}?host={server}"
    engine = sa.create_engine(url.format("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def order(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    order(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield url.format(name)
    finally:
        order(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server that lives as long as the tests."""
    programs, account = _programs(), _account()
    if programs is None:
        missing("no PostgreSQL programs here (initdb is neither on PATH nor under /usr/lib/postgresql)")
    if os.geteuid() == 0 and account is None:
        missing("PostgreSQL does not run as root and there is no account postgres or nobody to run it as")
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
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A fresh, empty database."""
    with database(postgresql_server) as url:
        yield url

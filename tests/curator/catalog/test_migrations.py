"""The migrations lead to the schema the code believes in, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from curator.catalog.database import HEAD, Database
from curator.catalog.migrations import config
from curator.catalog.migrations.__main__ import main
from curator.catalog.schema import metadata
from curator.errors import RequestError

SQLITE_AND_POSTGRESQL = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: SQLite unless a test asks for the other one."""
    if getattr(request, "param", "sqlite") == "postgresql":
        return request.getfixturevalue("postgresql_url")
    return f"sqlite:///{tmp_path / 'winnow.db'}"


def tables(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def differences(database: Database) -> list[object]:
    with database.read() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


@SQLITE_AND_POSTGRESQL
def test_up_down_and_up_again(url: str) -> None:
    database = Database.open(url)
    assert database.revision() == HEAD
    assert tables(database) == {*metadata.tables, "alembic_version"}
    assert differences(database) == []
    database.migrate("base")
    assert tables(database) <= {"alembic_version", "sqlite_sequence"}
    database.migrate()
    assert differences(database) == []
    database.close()


def reflected(connection: sa.Connection) -> list[sa.Table]:
    """The tables that are there, without the tools' own."""
    there = sa.MetaData()
    there.reflect(connection)
    return [table for table in there.sorted_tables if table.name not in ("alembic_version", "sqlite_sequence")]


def columns(database: Database) -> dict[str, set[str]]:
    with database.read() as connection:
        return {table.name: set(table.columns.keys()) for table in reflected(connection)}


def fill(database: Database) -> None:
    """A row in every table that holds something in every column and points at the others' rows."""
    values = {object: {"a": 1}, str: "x", float: 1.5, int: 1, bytes: b"x"}
    with database.write() as connection:
        for table in reflected(connection):
            row = {column.name: values[column.type.python_type] for column in table.columns}
            connection.execute(sa.insert(table).values(**row))


def rows(database: Database) -> dict[str, list[dict[str, object]]]:
    """What `fill` left of every table; the tenant that is there from the start left out."""
    with database.read() as connection:
        found = {table.name: connection.execute(sa.select(table)).mappings() for table in reflected(connection)}
        return {name: [dict(row) for row in every if row.get("id") != "local"] for name, every in found.items()}


@SQLITE_AND_POSTGRESQL
@pytest.mark.parametrize("newer", REVISIONS[1:])
def test_rows_survive_a_step_down_and_up_again(url: str, newer: str) -> None:
    older = REVISIONS[REVISIONS.index(newer) - 1]
    database = Database.open(url, migrate=False)
    database.migrate(older)
    narrow = columns(database)
    database.migrate(newer)
    fill(database)
    wide, full = columns(database), rows(database)
    assert all(len(every) == 1 for every in full.values())

    database.migrate(older)
    assert (database.revision(), columns(database)) == (older, narrow)
    left = {name: [{column: full[name][0][column] for column in kept}] for name, kept in narrow.items()}
    assert rows(database) == left

    database.migrate(newer)
    assert (database.revision(), columns(database)) == (newer, wide)
    back = {name: [{**dict.fromkeys(wide[name]), **row} for row in left.get(name, ())] for name in wide}
    assert rows(database) == back
    database.close()


def test_all_the_way_down_to_a_revision_in_one_go(url: str) -> None:
    database = Database.open(url)
    database.migrate("0003")
    assert database.revision() == "0003"
    database.migrate("0005")
    assert database.revision() == "0005"
    with pytest.raises(RequestError, match="cannot be brought to '0999'"):
        database.migrate("0999")
    assert database.revision() == "0005"
    database.close()


def test_an_operator_goes_back_by_a_command(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert main(root) == 2  # a mistyped root makes no catalog
    assert "no catalog" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    Database.open(url).close()
    assert main(root) == 0
    assert capsys.readouterr().out == f"the catalog stands at {HEAD}\n"
    assert main(["0005", *root]) == 0
    assert capsys.readouterr().out == f"the catalog went from {HEAD} to 0005\n"
    with pytest.raises(SystemExit):
        main(["base", *root])
    assert "invalid choice: 'base'" in capsys.readouterr().err


def test_the_code_knows_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_opening_again_changes_nothing(url: str) -> None:
    Database.open(url).close()
    again = Database.open(url)
    assert again.revision() == HEAD
    with again.read() as connection:
        assert connection.execute(sa.text("SELECT id, name FROM tenants")).all() == [("local", "local")]
    again.close()


def test_a_database_from_the_future_is_refused_and_left_alone(url: str) -> None:
    database = Database.open(url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RequestError, match="newer Winnow"):
        Database.open(url)
    assert database.revision() == "9999"
    assert set(metadata.tables) <= tables(database)
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("power cut")

    database = Database.open(url, migrate=False)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            database.migrate()
    assert tables(database) == set()
    database.migrate()
    assert differences(database) == []
    database.close()

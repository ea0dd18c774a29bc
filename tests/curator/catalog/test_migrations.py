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
from curator.catalog.schema import metadata
from curator.errors import RequestError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'winnow.db'}"


def tables(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def differences(database: Database) -> list[object]:
    with database.read() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def up_and_down(url: str) -> None:
    database = Database.open(url)
    assert database.revision() == HEAD
    assert tables(database) == {*metadata.tables, "alembic_version"}
    assert differences(database) == []
    database.migrate("base")
    assert tables(database) <= {"alembic_version", "sqlite_sequence"}
    database.migrate()
    assert differences(database) == []
    database.close()


def test_up_down_and_up_again(url: str) -> None:
    up_and_down(url)


def test_up_and_down_on_postgresql(postgresql_url: str) -> None:
    up_and_down(postgresql_url)


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

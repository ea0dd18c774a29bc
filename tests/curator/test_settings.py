"""Settings come from the environment, and a mistake in it is said, not swallowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curator.errors import RequestError
from curator.settings import Settings


def test_an_empty_environment_will_do() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.root, settings.host, settings.port) == ("./winnow-data", "127.0.0.1", 8700)
    assert settings.database_url == f"sqlite:///{os.path.abspath('winnow-data')}/winnow.db"
    assert settings.api_key is None and settings.ray_address is None


def test_variables_fill_their_fields() -> None:
    settings = Settings.from_environment(
        {
            "WINNOW_ROOT": "/data/w",
            "WINNOW_PORT": "9000",
            "WINNOW_LEASE_S": "4",
            "WINNOW_HEARTBEAT_S": "0.5",
            "WINNOW_INPUT_ROOTS": "/data/in, s3://bucket/in,",
            "WINNOW_ENCODERS": "acme/small, /models/own",
            "WINNOW_API_KEY": "wnw_secret",
            "RAY_ADDRESS": "ray://head:10001",
            "HOME": "/root",
        }
    )
    assert (settings.root, settings.port, settings.lease_s, settings.heartbeat_s) == ("/data/w", 9000, 4.0, 0.5)
    assert settings.database_url == "sqlite:////data/w/winnow.db"
    assert settings.input_roots == ("/data/in", "s3://bucket/in")
    assert settings.encoders == ("acme/small", "/models/own")
    assert settings.ray_address == "ray://head:10001"
    assert settings.api_key is not None and settings.api_key.get_secret_value() == "wnw_secret"
    assert "wnw_secret" not in repr(settings)


def test_a_commands_option_wins_and_an_absent_one_does_not() -> None:
    environment = {"WINNOW_ROOT": "/from/environment", "WINNOW_PORT": "9000"}
    settings = Settings.from_environment(environment, root="/from/option", port=None)
    assert (settings.root, settings.port) == ("/from/option", 9000)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WINNOW_ROOT", str(tmp_path))
    assert Settings.from_environment().root == str(tmp_path)


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Settings.from_environment({"WINNOW_PORT": "", "WINNOW_DATABASE_URL": ""}) == Settings()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WINNOW_ROOTS": "x"}, "did you mean WINNOW_ROOT?"),
        ({"WINNOW_ZZZ": "x"}, "known are .*WINNOW_DATABASE_URL"),
        ({"WINNOW_PORT": "many"}, "WINNOW_PORT='many'"),
        ({"WINNOW_PORT": "70000"}, "WINNOW_PORT='70000'"),
        ({"WINNOW_MAX_ATTEMPTS": "0"}, "WINNOW_MAX_ATTEMPTS='0'"),
        ({"WINNOW_LEASE_S": "10", "WINNOW_HEARTBEAT_S": "6"}, "at most half"),
        ({"WINNOW_LEASE_S": "nan"}, "WINNOW_LEASE_S"),
        ({"WINNOW_LEASE_S": "inf"}, "WINNOW_LEASE_S"),
        ({"WINNOW_ROOT": "s3://bucket/w"}, "WINNOW_DATABASE_URL"),
    ],
)
def test_a_mistake_is_said(environment: dict[str, str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Settings.from_environment(environment)


def test_an_object_store_needs_a_database_elsewhere() -> None:
    url = "postgresql+psycopg://w@db/winnow"
    settings = Settings.from_environment({"WINNOW_ROOT": "s3://bucket/w", "WINNOW_DATABASE_URL": url})
    assert (settings.root, settings.database_url) == ("s3://bucket/w", url)


def test_the_database_password_is_not_shown() -> None:
    settings = Settings.from_environment({"WINNOW_DATABASE_URL": "postgresql+psycopg://w:hush@db/winnow"})
    assert "hush" not in repr(settings)
    with pytest.raises(RequestError) as caught:
        Settings.from_environment({"WINNOW_DATABASE_URL": "postgresql+psycopg://w:hush@db/w", "WINNOW_PORT": "x"})
    assert "hush" not in str(caught.value)


def test_every_setting_says_what_it_is() -> None:
    assert all(info.description for info in Settings.model_fields.values())

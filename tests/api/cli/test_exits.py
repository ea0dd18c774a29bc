"""Exit codes by the class of the error, and where messages go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api.cli.exits import exit_codes
from curator.errors import (
    ConflictError,
    DiskFullError,
    InputError,
    IntegrityError,
    LeaseLostError,
    NotFoundError,
    RecipeError,
    RequestError,
    RunFailedError,
    StoppedError,
    TransportError,
    TrustedError,
    UnreachableError,
)


def ends(error: BaseException) -> tuple[int, str, str]:
    app = typer.Typer()

    @app.command()
    @exit_codes
    def go() -> None:
        raise error

    done = CliRunner().invoke(app, [])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    "kind",
    [RequestError, RecipeError, InputError, TrustedError, NotFoundError, ConflictError, UnreachableError],
    ids=lambda k: k.__name__,
)
def test_a_wrong_request_is_two(kind: type[RequestError]) -> None:
    assert ends(kind("the words")) == (2, "", "winnow: the words\n")


@pytest.mark.parametrize(
    "kind", [RunFailedError, DiskFullError, IntegrityError, TransportError, LeaseLostError], ids=lambda k: k.__name__
)
def test_a_failure_is_three(kind: type[Exception]) -> None:
    assert ends(kind("the words")) == (3, "", "winnow: the words\n")


def test_a_missing_extra_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")

    with pytest.raises(typer.Exit) as ended:
        exit_codes(command)()
    assert ended.value.exit_code == 2
    assert "needs sqlalchemy" in (told := capsys.readouterr().err) and "winnow-curation[cluster]" in told


def test_interrupted_is_130() -> None:
    assert ends(KeyboardInterrupt())[0] == 130
    code, out, told = ends(StoppedError("cancel"))
    assert (code, out) == (130, "")
    assert "--resume last" in told


def test_what_nobody_foresaw_is_three_with_its_trace() -> None:
    code, out, told = ends(ZeroDivisionError("hm"))
    assert (code, out) == (3, "")
    assert "Traceback" in told
    assert "ZeroDivisionError: hm" in told
    assert "please report it" in told


def test_an_exit_code_of_the_command_itself_stands() -> None:
    assert ends(typer.Exit(7))[0] == 7


def test_a_reader_that_went_away_is_no_failure() -> None:
    code = (
        "import typer\nfrom api.cli.exits import exit_codes\napp = typer.Typer()\n"
        "@app.command()\n@exit_codes\ndef go() -> None:\n    for _ in range(100_000): typer.echo('x' * 100)\napp()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert told == b""

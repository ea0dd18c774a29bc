"""A command line to call in-process, and one small finished run that every reading command can look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner, Result

from api.cli.app import app

RECIPE = """
task: text
columns: {id: id, text: text}
where: {split: train}
process:
  - length: {min_chars: 30}
  - exact_duplicates
policy: {kind: rules}
"""
HOSTILE = "<script>alert(1)</script>\x1b[2J"


class Finished(NamedTuple):
    """A root with one finished run, and the summary its `--json` printed."""

    root: str
    summary: dict[str, Any]
    recipe: str
    data: str


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WINNOW_ROOT", "WINNOW_URL", "WINNOW_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def winnow() -> Callable[..., Result]:
    """Calls `winnow` with words; the result has exit_code, stdout and stderr."""
    runner = CliRunner()

    def call(*words: object) -> Result:
        return runner.invoke(app, [str(word) for word in words])

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, winnow: Callable[..., Result]) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    rows = [
        {"id": f"d{n}", "text": f"the quick brown fox jumps over {n} lazy dogs", "split": "train"} for n in range(100)
    ]
    rows += [
        {"id": "<b>short", "text": HOSTILE[:29], "split": "train"},
        {"id": "dup", "text": rows[3]["text"], "split": "train"},
        {"id": "null", "text": None, "split": "train"},
        {"id": "other", "text": rows[3]["text"], "split": "test"},
    ]
    data, recipe = folder / "data.jsonl", folder / "recipe.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe.write_text(RECIPE)
    root = folder / "root"
    done = winnow("curate", data, "--recipe", recipe, "--out", root, "--json")
    assert done.exit_code == 0, done.stderr
    return Finished(str(root), json.loads(done.stdout), str(recipe), str(data))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

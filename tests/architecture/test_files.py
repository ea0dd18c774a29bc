"""Files stay small, say what they are, and have names that mean something."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("curator", "agents", "pipelines", "api")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "managers"}
ALLOWED_TOP_LEVEL = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", *PACKAGES, "tests", "deploy"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_file_is_read_in_one_breath(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, "a noun is missing: split the file where one hides"


@pytest.mark.parametrize("path", [path for path in MODULES if path.read_text().strip()], ids=relative)
def test_a_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "the first docstring line says what the file is"


def test_names_mean_something() -> None:
    assert [relative(path) for path in MODULES if path.stem in NAMELESS] == []


def test_the_top_level_is_the_agreed_one() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= ALLOWED_TOP_LEVEL


def test_every_package_has_a_readme() -> None:
    assert [package for package in PACKAGES if not (ROOT / package / "README.md").exists()] == []

"""Documents that could lie: the README's tree, commands, endpoints and names are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PACKAGES = ("curator", "agents", "pipelines", "api")


def folders(package: str) -> set[str]:
    return {path.parent.name for path in (ROOT / package).glob("*/*.py")} | (
        {"dashboard"} if package == "api" else set()
    )


def test_the_tree_is_the_tree() -> None:
    tree = README.split("## The house")[1].split("```")[1]
    told: dict[str, set[str]] = {}
    for line in tree.strip().splitlines():
        name = line.split("/")[0]
        if not name.startswith(" "):
            told[name] = set()
        else:
            told[list(told)[-1]].add(name.strip())
    assert set(told) == {*PACKAGES, "tests", "deploy"}
    for package in PACKAGES:
        assert told[package] == folders(package), package


def test_every_command_told_of_exists() -> None:
    from api.cli.app import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"(?:^|/|`)winnow ([a-z][a-z-]+)", README, re.M)) <= known


def test_every_endpoint_told_of_exists(tmp_path: Path) -> None:
    from api.app import create_app
    from curator.settings import Settings

    paths = set(create_app(Settings(root=str(tmp_path))).openapi()["paths"])
    shapes = {re.sub(r"\{[^}]+\}", "*", path) for path in paths}
    for path in re.findall(r"\$U(/[^\s\"?]*)", README):
        assert "/v1" + re.sub(r"\$[A-Z]+", "*", re.sub(r"/parts/\d+", "/parts/*", path)).rstrip(")") in shapes, path


def test_the_shipped_recipes_are_told_of() -> None:
    from curator.recipe import preset_names

    text = (ROOT / "curator" / "recipe" / "README.md").read_text()
    for name in preset_names():
        assert f"`{name}`" in text


def test_the_readmes_recipe_is_one() -> None:
    import yaml

    from curator.recipe import parse

    [block] = re.findall(r"```yaml\n(.*?)```", README, re.S)
    assert parse(yaml.safe_load(block)).task == "classification"


def test_the_readmes_python_compiles_and_its_names_exist() -> None:
    import curator

    [block] = re.findall(r"```python\n(.*?)```", README, re.S)
    compile(block, "README.md", "exec")
    for name in re.findall(r"from curator import (.*)", block)[0].split(", "):
        assert hasattr(curator, name)


@pytest.mark.parametrize("verb", ["demo", "test", "serve", "check", "bench"])
def test_the_verbs_of_the_makefile(verb: str) -> None:
    done = subprocess.run(["make", "-n", verb], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert sys.version_info >= (3, 11)


def test_the_short_benchmarks_are_asked_for_what_they_take() -> None:
    from tests.benchmarks.__main__ import HERE, SHORT

    for name, arguments in SHORT.items():
        source = (HERE / f"{name}.py").read_text()
        assert all(f'"{flag}"' in source for flag in re.findall(r"--[a-z-]+", arguments)), name

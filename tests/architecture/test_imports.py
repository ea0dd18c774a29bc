"""The dependency rule, held by import-linter's contracts in pyproject.toml; and what one module may take of another."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("curator", "agents", "pipelines", "api")


def test_imports_go_right_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def public_names(path: Path) -> set[str] | None:
    """What a module says it offers; None where it does not say."""
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and any(getattr(to, "id", "") == "__all__" for to in statement.targets):
            return set(ast.literal_eval(statement.value))
    return None


def borrowed(path: Path) -> Iterator[tuple[Path, str]]:
    """(module, name) of everything a file imports by name from our packages, modules of a package left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            place = ROOT.joinpath(*node.module.split("."))
            for alias in node.names:
                if not (place / alias.name).is_dir() and not (place / f"{alias.name}.py").exists():
                    yield place / "__init__.py" if place.is_dir() else place.with_suffix(".py"), alias.name


def test_pipelines_modules_take_of_each_other_only_what_is_offered() -> None:
    taken = [
        f"{path.relative_to(ROOT)} takes {name} of {module.relative_to(ROOT)}"
        for path in sorted((ROOT / "pipelines").rglob("*.py"))
        for module, name in borrowed(path)
        if "pipelines" in module.relative_to(ROOT).parts and name not in (public_names(module) or {name})
    ]
    assert taken == []

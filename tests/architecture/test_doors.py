"""Heavy libraries stay behind their doors: what a fresh process loads when it imports one package."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "ray", "fastapi", "sqlalchemy", "numba")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_a_puller_loads_nothing_heavy() -> None:
    assert loaded_by("import curator") == set()
    assert loaded_by("from curator import Client, ShardStream") == set()


def test_the_server_loads_neither_torch_nor_ray() -> None:
    assert loaded_by("import api.app") & {"torch", "ray"} == set()
    assert (
        loaded_by("from api.app import create_app; from curator.settings import Settings") & {"torch", "ray"} == set()
    )


def test_the_command_line_answers_without_heavy_imports() -> None:
    help_text = (
        "import sys; sys.argv = ['winnow', '--help']\ntry:\n    import api.cli; api.cli.main()\nexcept SystemExit: pass"
    )
    assert loaded_by(help_text) & {*HEAVY, "pyarrow"} == set()

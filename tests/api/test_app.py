"""The application: made when asked for, and light: what its routes load on use is light too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import api.app

REPO = Path(__file__).parents[2]


def loaded_after(statements: str) -> set[str]:
    code = f"{statements}\nimport sys; print(*(name for name in ('torch', 'ray') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_working_server_loads_neither_torch_nor_ray(tmp_path: Path) -> None:
    """Also what routes import on use: the training recipes and what-if."""
    used = "import api.app, pipelines.what_if, pipelines.training.presets\nfrom curator.settings import Settings\n"
    assert loaded_after(f"{used}api.app.create_app(Settings(root={str(tmp_path)!r}))") == set()


def test_importing_opens_nothing_and_app_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_ROOT", str(tmp_path / "root"))
    assert not (tmp_path / "root").exists()
    first = api.app.app
    try:
        assert first is api.app.app
        assert (tmp_path / "root" / "winnow.db").exists()
    finally:
        first.state.service.close()
        del api.app.app
    with pytest.raises(AttributeError):
        _ = api.app.nothing


def test_every_road_is_in_one_flat_list(tmp_path: Path) -> None:
    from curator.settings import Settings

    app = api.app.create_app(Settings(root=str(tmp_path)))
    paths = [route.path for route in app.routes]
    assert "/v1/runs/{run_id}:cancel" in paths and "/healthz/live" in paths
    pairs = [(route.path, method) for route in app.routes for method in route.methods]
    assert len(pairs) == len(set(pairs))
    app.state.service.close()

"""The container's entry point, run with a `winnow` and a `ray` that only say how they were called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

START = Path(__file__).parents[2] / "deploy" / "start.sh"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}
JOINED = "ray start --address=head:6379 --num-cpus=0 --num-gpus=0 --disable-usage-stats"


@pytest.fixture
def called(tmp_path: Path):  # type: ignore[no-untyped-def]
    for name in ("winnow", "ray"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*${{RAY_ADDRESS:+ at $RAY_ADDRESS}}"\n')
        (tmp_path / name).chmod(0o755)

    def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return subprocess.run(
            ["sh", str(START), *words], env={"PATH": path, **environ}, capture_output=True, text=True, check=False
        )

    return run


def test_serving_alone(called) -> None:  # type: ignore[no-untyped-def]
    assert called("serve").stdout == "winnow serve\n"
    assert called().stdout == "winnow serve\n"
    assert called("serve", "--port", "9000").stdout == "winnow serve --port 9000\n"


def test_serving_with_a_cluster_joins_it_first(called) -> None:  # type: ignore[no-untyped-def]
    done = called("serve", RAY_ADDRESS="head:6379", **TOKEN)
    assert done.stdout.splitlines() == [f"{JOINED} at head:6379", "winnow serve at head:6379"]


def test_the_head_lends_no_cpus_shows_no_dashboard_and_joins_nobody(called) -> None:  # type: ignore[no-untyped-def]
    told = called("ray-head", RAY_ADDRESS="head:6379", **TOKEN).stdout
    assert told == "ray start --head --block --port=6379 --num-cpus=0 --include-dashboard=false --disable-usage-stats\n"


def test_a_worker_joins_the_head(called) -> None:  # type: ignore[no-untyped-def]
    told = called("ray-worker", "--num-cpus=4", RAY_ADDRESS="head:6379", **TOKEN).stdout
    assert told == "ray start --address=head:6379 --block --disable-usage-stats --num-cpus=4 at head:6379\n"
    assert called("ray-worker", **TOKEN).returncode == 2


@pytest.mark.parametrize("mode", ["serve", "ray-head", "ray-worker"])
@pytest.mark.parametrize(
    "environ",
    [{}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": ""}, {"RAY_AUTH_TOKEN": "x"}],
)
def test_no_cluster_without_a_token(called, mode: str, environ: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    done = called(mode, RAY_ADDRESS="head:6379", **environ)
    assert done.returncode == 2
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in done.stderr
    assert done.stdout == ""


def test_other_words_are_commands(called) -> None:  # type: ignore[no-untyped-def]
    assert called("report", "last").stdout == "winnow report last\n"


def test_every_command_of_the_compose_file_is_a_mode() -> None:
    services = yaml.safe_load((START.parent / "compose.yaml").read_text())["services"]
    modes = {service["command"][0] for service in services.values() if "command" in service}
    text = START.read_text()
    assert modes == {"serve", "ray-head", "ray-worker"}
    for mode in modes:
        assert f"\n{mode})\n" in text
    assert os.access(START, os.X_OK)

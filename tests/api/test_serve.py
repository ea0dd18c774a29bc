"""`winnow serve` as processes: the key shown once, the runner begun again, a quiet end; and what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api.serve import RunnerChild, _environment, _listen, _runner_of, serve
from curator.catalog import Catalog
from curator.errors import RequestError
from curator.run import RunRequest
from curator.settings import Settings

REPO = Path(__file__).parents[2]
COMMAND = """
import sys
from api.serve import serve
from curator.settings import Settings
sys.exit(serve(Settings.from_environment()))
"""
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


@contextmanager
def served(
    root: Path, log: Path = Path(os.devnull), **more: str
) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """(process, address, lines said at the start); what it logs goes to a file."""
    environ = {**os.environ, "WINNOW_ROOT": str(root), "WINNOW_PORT": "0", "WINNOW_GRACE_S": "5", **more}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND], cwd=REPO, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout is not None
    try:
        said: list[str] = []
        while not said or "need" not in said[-1]:
            said.append(process.stdout.readline())
            assert said[-1], "the server ended before it began"
        port = re.search(r":(\d+) ", said[0])
        assert port
        yield process, f"http://127.0.0.1:{port[1]}", said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.stdout.close()


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def until(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_the_first_start_shows_a_key_once_and_the_runner_is_kept_alive(tmp_path: Path) -> None:
    with served(tmp_path) as (process, url, said):
        secret = re.search(r"shown this once: (wnw_\S+)", "".join(said))
        assert secret
        assert httpx.get(f"{url}/v1/runs", headers={"X-API-Key": secret[1]}).status_code == 200
        assert httpx.get(f"{url}/v1/runs").status_code == 200
        until(lambda: httpx.get(f"{url}/healthz/ready").json()["runner"] == "alive")
        (runner,) = children(process.pid)
        os.kill(runner, signal.SIGKILL)
        until(lambda: children(process.pid) not in ([], [runner]))
        until(lambda: httpx.get(f"{url}/healthz/ready").json()["status"] == "ok")
        (following,) = children(process.pid)
    until(lambda: not Path(f"/proc/{following}").exists())
    with served(tmp_path, WINNOW_HOST="0.0.0.0") as (_, url, said):
        assert "shown this once" not in "".join(said)
        assert "every caller needs a key" in said[-1]
        assert httpx.get(f"{url}/v1/runs").status_code == 401
        assert httpx.get(f"{url}/v1/runs", headers={"X-API-Key": secret[1]}).status_code == 200


def test_the_runner_of_a_killed_counter_ends_by_itself(tmp_path: Path) -> None:
    with served(tmp_path) as (process, _url, _):
        until(lambda: children(process.pid))
        (runner,) = children(process.pid)
        until(lambda: b"pipelines.runner" in Path(f"/proc/{runner}/cmdline").read_bytes())
        process.kill()
        process.wait()
        process.returncode = 0  # as the context expects of one that was asked
        until(lambda: not Path(f"/proc/{runner}").exists())


def test_open_event_streams_are_ended_not_cut_off(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    with served(root, log) as (process, url, _):
        with Catalog.open(Settings(root=str(root)).database_url) as catalog:
            request = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
            run = catalog.runs.create_claimed("local", request, "a runner elsewhere", 600.0)
        with httpx.stream("GET", f"{url}/v1/runs/{run.id}/events", timeout=60) as answer:
            lines = answer.iter_lines()
            while "validating" not in next(lines):
                pass
            process.send_signal(signal.SIGTERM)
            assert not [line for line in lines if line.startswith("event:")]  # to its end, which is a proper one
    told = log.read_text()
    assert "ERROR" not in told and "Cancel" not in told, told


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """asyncio sets TCP_NODELAY on connections of a socket that names its protocol, and on no other."""
    with _listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_an_address_that_is_taken_is_said_to_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RequestError, match="cannot listen on"):
        serve(Settings(root=str(tmp_path), port=taken.getsockname()[1]))
    assert not list(tmp_path.iterdir())  # refused before anything was written


def test_a_child_that_keeps_dying_is_begun_again_ever_more_slowly(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit(7)")
    with RunnerChild(Settings(root=str(tmp_path)), command) as child:
        until(lambda: child.num_starts >= 2)
        assert not child.alive() or child.num_starts >= 2
    starts = child.num_starts
    time.sleep(0.3)
    assert child.num_starts == starts  # none after the end


def test_a_child_that_will_not_end_is_ended(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = RunnerChild(
        Settings(root=str(tmp_path), grace_s=0), (sys.executable, "-c", DEAF, str(ready)), patience_s=0.2
    )
    with child:
        until(ready.exists)
        assert child.alive()
    assert not child.alive()


def test_no_package_of_the_folder_it_stands_in_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before the runner's own modules nor before anything it loads."""
    for name in ("pipelines", "curator", "sqlalchemy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('foreign')")
    monkeypatch.chdir(tmp_path)
    command = _runner_of(Settings(root=str(tmp_path / "root")))
    done = subprocess.run([*command, "--once"], env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

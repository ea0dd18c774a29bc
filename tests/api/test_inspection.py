"""The process that reads bytes first: what it finds, and that it has nothing to give away and can do no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.inspection import Bounds, Nursery, inspected
from curator.errors import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("inspected") / "rows.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(5000)], "n": list(range(5000))}), path)
    return str(path)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def test_it_finds_what_reading_here_finds(nursery: Nursery, file: str) -> None:
    assert nursery.inspected([file]) == inspected([file])
    assert nursery.inspected([file])["rows"] == 5000


def test_what_it_refuses_is_refused_with_its_reason(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{broken\n')
    with pytest.raises(InputError, match="row 1"):
        nursery.inspected([str(tmp_path / "a.jsonl")])


def in_its_place(code: str, file: str, bounds: Bounds | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a nursery whose children do `code` instead of reading."""
    program = (
        "import api.inspection as there, sys, os, json, signal, resource\n"
        f"def inspected(inputs):\n    {code}\n"
        "there.inspected = inspected\n"
        "import socket, threading\n"
        "ours, theirs = socket.socketpair()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    ours.close(); there._nurse(theirs); os._exit(0)\n"
        "theirs.close()\n"
        f"nursery = there.Nursery(there.Bounds(**{(bounds or Bounds()).model_dump()}))\n"
        "nursery._open_line = lambda: ours\n"
        "try: print(json.dumps(nursery.inspected([sys.argv[1]])))\n"
        "except there.InputError as error: print('refused:', error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "WINNOW_API_KEY": "wnw_secret", "PGPASSWORD": "secret"}
    command = [sys.executable, "-c", program, file]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


@pytest.mark.parametrize(
    "code",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.abort()",
        "return bytearray(3 * 2**30) and {}",
        "open('/tmp/winnow-was-here', 'w').write('x' * 10)",
        "sys.exit(3)",
        "raise ValueError('unforeseen')",
        "there.os.write(3, b'')\n    return 'no object'",
    ],
)
def test_whatever_breaks_it_is_a_refusal_and_no_more(file: str, code: str) -> None:
    done = in_its_place(code, file, Bounds(memory_bytes=2**30))
    assert done.stdout.startswith("refused: reading it broke off"), done.stdout + done.stderr
    spilt = Path("/tmp/winnow-was-here")
    assert not spilt.exists() or spilt.stat().st_size == 0
    spilt.unlink(missing_ok=True)


def test_it_is_not_waited_for_for_ever(file: str) -> None:
    started = time.monotonic()
    done = in_its_place("import time; time.sleep(50)", file, Bounds(wall_s=1.0))
    assert "took longer than 1 s" in done.stdout, done.stdout + done.stderr
    assert time.monotonic() - started < 30


def test_it_runs_out_of_processor_time(file: str) -> None:
    done = in_its_place("\n    while True: pass", file, Bounds(cpu_s=1))
    assert "processor time" in done.stdout, done.stdout + done.stderr


def test_it_is_told_no_secrets(nursery: Nursery, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_API_KEY", "wnw_hushhush")
    monkeypatch.setenv("PGPASSWORD", "hushhush")
    fresh = Nursery()
    fresh.inspected([file])
    assert fresh._process is not None
    environment = Path(f"/proc/{fresh._process.pid}/environ").read_bytes()
    opened = [os.readlink(entry) for entry in Path(f"/proc/{fresh._process.pid}/fd").iterdir()]
    fresh.close()
    assert b"hushhush" not in environment and b"PATH=" in environment
    assert not [name for name in opened if name.endswith((".db", ".db-wal"))]


def test_a_nursery_that_was_killed_is_started_again(file: str) -> None:
    nursery = Nursery()
    nursery.inspected([file])
    assert nursery._process is not None
    os.kill(nursery._process.pid, signal.SIGKILL)
    nursery._process.wait()
    assert nursery.inspected([file])["rows"] == 5000
    nursery.close()


def test_several_are_read_at_once(nursery: Nursery, file: str) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(nursery.inspected([file])["rows"])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5000] * 6

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
from curator.errors import InputError, RetryableError
from curator.settings import Settings

BOUNDS = Bounds.of(Settings())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("inspected") / "rows.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(5000)], "n": list(range(5000))}), path)
    return str(path)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery(BOUNDS)
    yield made
    made.close()


def test_it_finds_what_reading_here_finds(nursery: Nursery, file: str) -> None:
    assert nursery.inspected([file]) == inspected([file])
    assert nursery.inspected([file])["rows"] == 5000


def test_what_it_refuses_is_refused_with_its_reason(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{broken\n')
    with pytest.raises(InputError, match="row 1"):
        nursery.inspected([str(tmp_path / "a.jsonl")])


def in_its_place(code: str, file: str, bounds: Bounds = BOUNDS) -> subprocess.CompletedProcess[str]:
    """Runs a nursery whose children do `code` instead of reading (`real` does that)."""
    program = (
        "import api.inspection as there, sys, os, json, signal, resource\n"
        "real = there.inspected\n"
        f"def inspected(inputs, within=None):\n    {code}\n"
        "there.inspected = inspected\n"
        "import socket, threading\n"
        "ours, theirs = socket.socketpair()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    ours.close(); there._nurse(theirs); os._exit(0)\n"
        "theirs.close()\n"
        f"nursery = there.Nursery(there.Bounds(**{bounds.model_dump()}))\n"
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
        "open(inputs[0] + '.spilt', 'w').write('x' * 10)",
        "sys.exit(3)",
        "raise ValueError('unforeseen')",
        "there.os.write(3, b'')\n    return 'no object'",
        "return {'digest': 'd', 'odd': 1}",
        "return real(inputs) | {'rows': 2**63}",
        'there.json.dumps = lambda *_, **__: \'{"found": {"dig\'\n    return {}',
        "there.json.dumps = lambda *_, **__: '[' * 10**6\n    return {}",
    ],
)
def test_whatever_breaks_it_is_a_refusal_and_no_more(file: str, code: str) -> None:
    done = in_its_place(code, file, BOUNDS.model_copy(update={"memory_bytes": 2**30}))
    assert done.stdout.startswith("refused: reading it broke off"), done.stdout + done.stderr
    spilt = Path(f"{file}.spilt")
    assert not spilt.exists() or spilt.stat().st_size == 0


@pytest.fixture(scope="module")
def bounded_maps() -> None:
    """Skips where the kernel bounds the heap alone, and not what is mapped."""
    probe = (
        "import resource, mmap\nresource.setrlimit(resource.RLIMIT_DATA, (2**26, 2**26))\n"
        "mmap.mmap(-1, 2**28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)"
    )
    if subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0:
        pytest.skip("this kernel does not hold mapped memory to RLIMIT_DATA")


@pytest.mark.usefixtures("bounded_maps")
def test_it_runs_out_of_memory(file: str) -> None:
    code = "taken = b'x' * (3 * 2**30)\n    return real(inputs)"
    done = in_its_place(code, file, BOUNDS.model_copy(update={"memory_bytes": 2**30}))
    assert "bytes of memory" in done.stdout, done.stdout + done.stderr


def test_without_proc_it_reads_all_the_same(file: str) -> None:
    code = "return real(inputs)\ndef gone(*_):\n    raise FileNotFoundError\nthere.open = gone"  # hides the builtin
    done = in_its_place(code, file)
    assert '"rows": 5000' in done.stdout, done.stdout + done.stderr


def test_an_answer_without_end_is_refused(file: str) -> None:
    code = "there.json.dumps = lambda *_, **__: 'x' * (65 * 2**20)\n    return {}"
    assert "to describe" in in_its_place(code, file).stdout


def test_it_is_not_waited_for_for_ever(file: str) -> None:
    started = time.monotonic()
    done = in_its_place("import time; time.sleep(50)", file, BOUNDS.model_copy(update={"wall_s": 1.0}))
    assert "took longer than 1 s" in done.stdout, done.stdout + done.stderr
    assert time.monotonic() - started < 30


def test_it_runs_out_of_processor_time(file: str) -> None:
    done = in_its_place("\n    while True: pass", file, BOUNDS.model_copy(update={"cpu_s": 1}))
    assert "processor time" in done.stdout, done.stdout + done.stderr


def test_it_is_told_no_secrets(nursery: Nursery, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_API_KEY", "wnw_hushhush")
    monkeypatch.setenv("PGPASSWORD", "hushhush")
    fresh = Nursery(BOUNDS)
    fresh.inspected([file])
    assert fresh._process is not None
    environment = Path(f"/proc/{fresh._process.pid}/environ").read_bytes()
    opened = [os.readlink(entry) for entry in Path(f"/proc/{fresh._process.pid}/fd").iterdir()]
    fresh.close()
    assert b"hushhush" not in environment and b"PATH=" in environment
    assert not [name for name in opened if name.endswith((".db", ".db-wal"))]


def test_a_nursery_that_was_killed_is_started_again(file: str) -> None:
    nursery = Nursery(BOUNDS)
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


def test_no_package_of_the_folder_it_stands_in_comes_first(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("api", "curator"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('foreign')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    nursery = Nursery(BOUNDS)
    assert nursery.inspected([file])["rows"] == 5000
    nursery.close()


@pytest.mark.parametrize("python", ["/bin/false", "/no/such/python"])
def test_one_that_cannot_start_is_no_fault_of_the_bytes(
    file: str, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr("api.inspection.sys.executable", python)
    nursery = Nursery(BOUNDS)
    with pytest.raises(RetryableError, match="start"):
        nursery.inspected([file])
    nursery.close()


def test_statistics_stop_at_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        pq.write_table(pa.table({"text": [str(number) * 100] * 100}), tmp_path / f"{number}.parquet")
    monkeypatch.setattr("api.inspection.STATISTICS_BYTES", 15_000)
    found = inspected([str(tmp_path)])
    assert (found["rows"], found["statistics"]["rows_read"]) == (400, 200)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reading never ends here; the folder has an entry for each process that reads, named by its id."""
    marks = tmp_path / "marks"
    marks.mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time, curator.readers\n"
        f"def discover(inputs, **_):\n    os.mkdir(f'{marks}/{{os.getpid()}}')\n    time.sleep(600)\n"
        "curator.readers.discover = discover\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return marks


def reader_of(marks: Path) -> int:
    deadline = time.monotonic() + 60
    while not (found := list(marks.iterdir())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found[0].name)


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    return False


def test_it_ends_when_the_server_is_killed(file: str, slow: Path) -> None:
    program = (
        "import sys\nfrom api.inspection import *\nfrom curator.settings import Settings\n"
        "Nursery(Bounds.of(Settings())).inspected(sys.argv[1:])"
    )
    paths = os.pathsep.join((os.getcwd(), os.environ["PYTHONPATH"]))
    server = subprocess.Popen([sys.executable, "-c", program, file], env={**os.environ, "PYTHONPATH": paths})
    reader = reader_of(slow)
    server.kill()
    server.wait()
    assert is_gone(reader)


def test_closing_ends_it_without_a_verdict_and_a_sigterm_to_all_does_not(file: str, slow: Path) -> None:
    nursery = Nursery(BOUNDS)
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            nursery.inspected([file])
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    reader = reader_of(slow)
    os.kill(reader, signal.SIGTERM)
    time.sleep(0.2)
    assert thread.is_alive()
    nursery.close()
    thread.join(20)
    assert is_gone(reader)
    assert [type(error) for error in raised] == [RetryableError]
    with pytest.raises(RetryableError):
        nursery.inspected([file])

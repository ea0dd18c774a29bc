"""Reading a dataset's bytes for the first time, in a process of its own that may take little and write nothing.

A file can be made to break whoever reads it. So the one who reads holds no key and no connection, is given so much
memory, time and room, and ends after one dataset or with the server; what it says comes back as JSON, which is looked
at, not unpickled. Each is forked from a nursery that has the readers loaded and nothing else. Knows readers and
processes; nothing of the catalog.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from api.column_statistics import Columns
from curator.digest import content_id
from curator.errors import InputError, RequestError, RetryableError, WinnowError
from curator.readers import WorkUnit, discover, plan_inputs, read
from curator.settings import Settings

__all__ = ["Bounds", "Nursery", "confine", "confined_environment", "inspected"]

UNIT_ROWS: Final = 65_536
FIRST_ROWS: Final = 10_000
FIRST_UNITS: Final = 1000
STATISTICS_ROWS: Final = 1_000_000
STATISTICS_BYTES: Final = 4 * 2**30
ANSWER_BYTES: Final = 64 * 2**20
_PID_BYTES: Final = 8
_OTLP: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_SECRETS: Final = ("WINNOW_API_KEY", "WINNOW_DATABASE_URL", "PGPASSWORD", "PGPASSFILE", "RAY_AUTH_TOKEN", *_OTLP)


class Bounds(BaseModel):
    """What a reading process may take: bytes of memory beyond its start, seconds of processor and of waiting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: int
    cpu_s: int
    wall_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings allow."""
        return cls(
            memory_bytes=settings.inspection_memory_bytes,
            cpu_s=settings.inspection_cpu_s,
            wall_s=settings.inspection_wall_s,
        )


class _Found(BaseModel):
    """What a reading process may say it found."""

    model_config = ConfigDict(strict=True, extra="forbid")

    digest: str
    rows: int = Field(ge=0, lt=2**63)
    bytes: int = Field(ge=0, lt=2**63)
    columns: dict[str, str]
    statistics: dict[str, Any]


class Nursery:
    """Starts reading processes. Threads share it; it is started by the first that asks."""

    def __init__(self, bounds: Bounds):
        self._bounds, self._lock, self._closed = bounds, threading.Lock(), False
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def inspected(self, inputs: Sequence[str], within: Sequence[str] | None = None) -> dict[str, Any]:
        """`inspected` in a process of its own. Raises InputError for bytes it refused or that broke the process,
        RetryableError when it was a store's fault, or this machine's, or the nursery was closed meanwhile."""
        try:
            with tempfile.TemporaryFile() as asked:
                question = {"inputs": list(inputs), "within": within, "bounds": self._bounds.model_dump()}
                asked.write(json.dumps(question).encode())
                asked.flush()
                answer = self._answer(asked.fileno())
        except OSError as error:
            raise RetryableError(f"no process could be started to read it: {error}; it will be tried again") from error
        if self._closed:
            raise RetryableError("the server ended while it was read; it will be tried again")
        if len(answer) < _PID_BYTES:
            raise RetryableError("the process that reads could not be started; its output says why")
        return _opened(answer[_PID_BYTES:], self._bounds)

    def close(self) -> None:
        """Ends the nursery, whatever is being read, and every later question."""
        with self._lock:
            self._closed = True
            if self._line is not None:
                self._line.close()
            if self._process is not None:
                self._process.wait()
            self._process = self._line = None

    def _answer(self, asked: int) -> bytes:
        """The child's process id and what it wrote until it ended."""
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0):
            try:
                with self._lock:
                    socket.send_fds(self._open_line(), [b"?"], [asked, theirs])
            finally:
                os.close(theirs)
            return _read_until_end(ours, self._bounds)

    def _open_line(self) -> socket.socket:
        if self._closed:
            raise RetryableError("the server is ending; it will be tried again")
        if self._line is None or self._process is None or self._process.poll() is not None:
            if self._line is not None:
                self._line.close()
            self._line, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    (sys.executable, "-P", "-m", "api.inspection", str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env=confined_environment(),
                )
        return self._line


def confined_environment() -> dict[str, str]:
    """Without secrets; these packages come before any of the same name that lie elsewhere."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _read_until_end(pipe: int, bounds: Bounds) -> bytes:
    """The child's process id comes first, so that a child that takes too long or says too much can be ended. Raises
    InputError for such a one."""
    deadline, taken = time.monotonic() + bounds.wall_s, bytearray()
    wrong = f"reading it took longer than {bounds.wall_s:g} s (WINNOW_INSPECTION_WALL_S); split it into smaller files"
    with selectors.DefaultSelector() as waiting:
        waiting.register(pipe, selectors.EVENT_READ)
        while waiting.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(pipe, 2**20)
            if not chunk:
                return bytes(taken)
            taken += chunk
            if len(taken) > ANSWER_BYTES:
                wrong = f"its columns take more than {ANSWER_BYTES} bytes to describe; use fewer, or shorter names"
                break
    if len(taken) >= _PID_BYTES:
        with suppress(ProcessLookupError):
            os.kill(int.from_bytes(taken[:_PID_BYTES], "little"), signal.SIGKILL)
    raise InputError(wrong)


def inspected(inputs: Sequence[str], within: Sequence[str] | None = None) -> dict[str, Any]:
    """What reading the inputs once finds: digest, rows, bytes, columns, statistics. `within`: see `discover`. Raises
    InputError."""
    plan = plan_inputs(discover(inputs, within=within), unit_rows=UNIT_ROWS)
    columns, taken = Columns(plan.schema), 0
    for rows in chain.from_iterable(read(unit, schema=plan.schema) for unit in plan.units):
        columns.add(rows.batch)
        taken += rows.batch.nbytes
        if columns.rows >= STATISTICS_ROWS or taken >= STATISTICS_BYTES:
            break
    return {
        "digest": content_id("dv", [info.digest for info in plan.sources]),
        "rows": plan.rows,
        "bytes": sum(info.source.size_bytes for info in plan.sources),
        "columns": {field.name: str(field.type) for field in plan.schema},
        "statistics": {
            "files": len(plan.sources),
            "schema": base64.b64encode(plan.schema.serialize().to_pybytes()).decode(),
            "first_units": [unit.model_dump(mode="json") for unit in _first(plan.units)],
            "rows_read": columns.rows,
            "columns": columns.told(),
        },
    }


def _first(units: Sequence[WorkUnit]) -> Iterator[WorkUnit]:
    """The units that hold the first rows, for previews and dry runs."""
    rows = 0
    for unit in units[:FIRST_UNITS]:
        yield unit
        rows += unit.rows
        if rows >= FIRST_ROWS:
            return


def _nurse(line: socket.socket) -> None:
    """Forks a child for every question until the one who asks is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all processes of a service: it ends with the one who asks
    while True:
        said, fds, _, _ = socket.recv_fds(line, 1, 2)
        if not said:
            return
        if os.fork() == 0:
            line.close()
            try:
                _child(*fds)
            finally:
                os._exit(0)
        for fd in fds:
            os.close(fd)


def _child(asked: int, answer: int) -> None:
    os.write(answer, os.getpid().to_bytes(_PID_BYTES, "little"))
    os.lseek(asked, 0, os.SEEK_SET)
    with os.fdopen(asked, "rb") as file:
        request = json.load(file)
    bounds = Bounds(**request["bounds"])
    confine(memory_bytes=bounds.memory_bytes, cpu_s=bounds.cpu_s)
    try:
        told: dict[str, Any] = {"found": inspected(request["inputs"], request["within"])}
    except RequestError as error:
        told = {"refused": {"code": error.code, "message": str(error)}}
    except WinnowError as error:
        told = {"failed": {"code": error.code, "message": str(error)}}
    except MemoryError:
        told = {"refused": {"code": InputError.code, "message": _broken(bounds)}}
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(json.dumps(told, allow_nan=False).encode())


def confine(*, memory_bytes: int, cpu_s: int, file_bytes: int = 0) -> None:
    """From here on: no core file, no file larger than `file_bytes`, so much memory and time."""
    wanted = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: file_bytes, resource.RLIMIT_CPU: cpu_s}
    with suppress(OSError):  # no /proc, as on macOS: without a bound on memory
        wanted[resource.RLIMIT_DATA] = _memory_now() + memory_bytes
    for limit, most in wanted.items():
        with suppress(ValueError, OSError):  # a harder limit is set already
            resource.setrlimit(limit, (most, most))


def _memory_now() -> int:
    """Bytes of data this process has mapped. Raises OSError where the system does not tell."""
    with open("/proc/self/statm", "rb") as status:
        return int(status.read().split()[5]) * resource.getpagesize()


def _broken(bounds: Bounds) -> str:
    return (
        f"reading it broke off: the file is damaged, or needs more than {bounds.memory_bytes} bytes of memory at once "
        f"(WINNOW_INSPECTION_MEMORY_BYTES) or {bounds.cpu_s} s of processor time (WINNOW_INSPECTION_CPU_S); write it "
        "again, with smaller row groups, or split it"
    )


def _opened(answer: bytes, bounds: Bounds) -> dict[str, Any]:
    """The child's answer. What it read may have taken it over, so nothing in it is trusted to be well-formed."""
    try:
        told = json.loads(answer)
        if "found" in told:
            return _Found.model_validate(told["found"]).model_dump()
        kind, error = ("failed", RetryableError) if "failed" in told else ("refused", InputError)
        code, message = str(told[kind]["code"]), str(told[kind]["message"])
    except (ValueError, TypeError, LookupError, RecursionError) as fault:  # it ended while it wrote, or wrote nonsense
        raise InputError(_broken(bounds)) from fault
    raised: WinnowError = error(message)
    raised.code = code
    raise raised


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as line:
        _nurse(line)
    os.killpg(0, signal.SIGKILL)  # the children too: nobody waits for their answers any more

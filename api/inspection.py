"""Reading a dataset's bytes for the first time, in a process of its own that may take little and write nothing.

A file can be made to break whoever reads it. So the one who reads holds no key and no connection, is given so much
memory, time and room, and ends after one dataset; what it says comes back as JSON, which is looked at, not unpickled.
Each is forked from a nursery that has the readers loaded and nothing else. Knows readers and processes; nothing of the
catalog.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from api.column_statistics import Columns
from curator.digest import content_id
from curator.errors import InputError, RequestError, RetryableError, WinnowError
from curator.readers import discover, plan_inputs, read

__all__ = ["Bounds", "Nursery", "inspected"]

UNIT_ROWS: Final = 65_536
STATISTICS_ROWS: Final = 1_000_000
ANSWER_BYTES: Final = 64 * 2**20
_SECRETS: Final = ("WINNOW_API_KEY", "WINNOW_DATABASE_URL", "PGPASSWORD", "PGPASSFILE", "RAY_AUTH_TOKEN")


class Bounds(BaseModel):
    """What a reading process may take: bytes of memory beyond its start, seconds of processor and of waiting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: int = 4 * 2**30
    cpu_s: int = 3600
    wall_s: float = 7200.0


class Nursery:
    """Starts reading processes. Threads share it; it is started by the first that asks."""

    def __init__(self, bounds: Bounds | None = None):
        self._bounds, self._lock = bounds or Bounds(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def inspected(self, inputs: Sequence[str]) -> dict[str, Any]:
        """`inspected` in a process of its own. Raises InputError for bytes it refused or that broke the process,
        RetryableError when it was a store's fault."""
        with tempfile.TemporaryFile() as asked:
            asked.write(json.dumps({"inputs": list(inputs), "bounds": self._bounds.model_dump()}).encode())
            asked.flush()
            answer = self._answer(asked.fileno())
        if answer is None:
            raise InputError(f"reading it took longer than {self._bounds.wall_s:g} s; split it into smaller files")
        if not answer:
            raise InputError(_broken(self._bounds))
        return _opened(json.loads(answer))

    def close(self) -> None:
        """Ends the nursery."""
        with self._lock:
            if self._line is not None:
                self._line.close()
            if self._process is not None:
                self._process.wait()
            self._process = self._line = None

    def _answer(self, asked: int) -> bytes | None:
        """What the child wrote until it ended, empty if it broke; None if it took too long and was ended."""
        ours, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._open_line(), [b"?"], [asked, theirs])
        finally:
            os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as pipe:
            return _read_until_end(pipe.fileno(), self._bounds.wall_s)

    def _open_line(self) -> socket.socket:
        if self._line is None or self._process is None or self._process.poll() is not None:
            if self._line is not None:
                self._line.close()
            self._line, theirs = socket.socketpair()
            with theirs:
                paths = [path for path in (os.environ.get("PYTHONPATH"), os.getcwd()) if path]
                environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
                self._process = subprocess.Popen(
                    (sys.executable, "-m", "api.inspection", str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
                )
        return self._line


def _read_until_end(pipe: int, wall_s: float) -> bytes | None:
    """The child's process id comes first, eight bytes, so that it can be ended."""
    deadline, taken = time.monotonic() + wall_s, b""
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(pipe, 2**20)
        if not chunk or len(taken) > ANSWER_BYTES:
            return taken[8:]
        taken += chunk
    with suppress(ProcessLookupError):
        os.kill(int.from_bytes(taken[:8], "little"), signal.SIGKILL) if len(taken) >= 8 else None
    return None


def inspected(inputs: Sequence[str]) -> dict[str, Any]:
    """What reading the inputs once finds: digest, rows, bytes, columns, statistics. Raises InputError."""
    plan = plan_inputs(discover(inputs), unit_rows=UNIT_ROWS)
    columns = Columns(plan.schema)
    for unit in plan.units:
        for rows in read(unit, schema=plan.schema):
            columns.add(rows.batch)
            if columns.rows >= STATISTICS_ROWS:
                break
        if columns.rows >= STATISTICS_ROWS:
            break
    return {
        "digest": content_id("dv", [info.digest for info in plan.sources]),
        "rows": plan.rows,
        "bytes": sum(info.source.size_bytes for info in plan.sources),
        "columns": {field.name: str(field.type) for field in plan.schema},
        "statistics": {
            "files": len(plan.sources),
            "schema": base64.b64encode(plan.schema.serialize().to_pybytes()).decode(),
            "first_units": [unit.model_dump(mode="json") for unit in plan.units[:1]],
            "rows_read": columns.rows,
            "columns": columns.told(),
        },
    }


def _nurse(line: socket.socket) -> None:
    """Forks a child for every question until the one who asks is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
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
    os.write(answer, os.getpid().to_bytes(8, "little"))
    os.lseek(asked, 0, os.SEEK_SET)
    with os.fdopen(asked, "rb") as file:
        request = json.load(file)
    bounds = Bounds(**request["bounds"])
    _confine(bounds)
    try:
        told: dict[str, Any] = {"found": inspected(request["inputs"])}
    except RequestError as error:
        told = {"refused": {"code": error.code, "message": str(error)}}
    except WinnowError as error:
        told = {"failed": {"code": error.code, "message": str(error)}}
    except MemoryError:
        told = {"refused": {"code": InputError.code, "message": _broken(bounds)}}
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(json.dumps(told, allow_nan=False).encode())


def _confine(bounds: Bounds) -> None:
    """From here on: no core file, no file that grows, so much memory and time."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CPU: bounds.cpu_s,
        resource.RLIMIT_DATA: _memory_now() + bounds.memory_bytes,
    }
    for limit, most in wanted.items():
        with suppress(ValueError, OSError):  # a harder limit is set already
            resource.setrlimit(limit, (most, most))


def _memory_now() -> int:
    """Bytes of data this process has mapped."""
    with open("/proc/self/statm", "rb") as status:
        return int(status.read().split()[5]) * resource.getpagesize()


def _broken(bounds: Bounds) -> str:
    return (
        f"reading it broke off: the file is damaged, or needs more than {bounds.memory_bytes} bytes of memory at once "
        f"or {bounds.cpu_s} s of processor time; write it again, with smaller row groups, or split it"
    )


def _opened(told: Any) -> dict[str, Any]:
    """The child's answer. What it read may have taken it over, so nothing in it is trusted to be well-formed."""
    if isinstance(told, dict) and isinstance(told.get("found"), dict):
        return dict(told["found"])
    for kind, error in (("refused", InputError), ("failed", RetryableError)):
        if isinstance(told, dict) and isinstance(told.get(kind), dict):
            raised: WinnowError = error(str(told[kind].get("message")))
            raised.code = str(told[kind].get("code"))
            raise raised
    raise InputError("reading it broke off")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as line:
        _nurse(line)

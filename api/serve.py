"""`winnow serve`: the counter under uvicorn, and beside it one runner, begun again whenever it dies.

Knows processes and sockets; nothing of resources. The runner is a process of its own: it survives a fault of the
counter and the counter survives its.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import uvicorn

from api.app import create_app, keep_loaded
from api.auth import is_loopback, local_access
from api.outbox import Outbox
from api.service import Service
from curator.errors import RequestError
from curator.log_lines import configure_logs
from curator.process import process_name
from curator.settings import Settings

__all__ = ["RunnerChild", "serve"]

log: Final = logging.getLogger("winnow.serve")

_BACKOFF_S, _BACKOFF_MOST_S, _HEALTHY_AFTER_S = 0.5, 30.0, 10.0
_LAST_STREAMS_S: Final = 3
"""How long open answers (downloads, mostly) may hold up the end."""


class RunnerChild:
    """One `python -m pipelines.runner` on the root. A context: it runs inside, and is told to end outside."""

    def __init__(self, settings: Settings, command: tuple[str, ...] | None = None, *, patience_s: float = 5.0):
        self._command = command or _runner_of(settings)
        self._grace_s, self._patience_s = settings.grace_s, patience_s
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, name="runner-child", daemon=True)
        self.num_starts = 0

    def alive(self) -> bool:
        """Whether the process is there now."""
        process = self._process
        return process is not None and process.poll() is None

    def __enter__(self) -> RunnerChild:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Passes SIGTERM on, waits for the runner's grace period and `patience_s` more, then ends it for good."""
        self._ending.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(self._grace_s + self._patience_s)
            except subprocess.TimeoutExpired:
                log.warning("the runner did not end in its grace period of %g s; killing it", self._grace_s)
                process.kill()
                process.wait()
        self._thread.join(timeout=5)

    def _supervise(self) -> None:
        wait_s = _BACKOFF_S
        while not self._ending.is_set():
            started = time.monotonic()
            # A session of its own: Ctrl-C in the terminal reaches the counter alone, which passes a SIGTERM on.
            self._process = subprocess.Popen(self._command, start_new_session=True, env=_environment())
            self.num_starts += 1
            if self._ending.is_set():  # told to end between the check and the start
                self._process.send_signal(signal.SIGTERM)
            code = self._process.wait()
            if self._ending.is_set():
                return
            wait_s = _BACKOFF_S if time.monotonic() - started > _HEALTHY_AFTER_S else min(wait_s * 2, _BACKOFF_MOST_S)
            log.warning("the runner ended with code %d; starting another in %g s", code, wait_s)
            self._ending.wait(wait_s)


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or Ctrl-C; exit code 0.

    Off loopback every caller needs a key; on loopback this machine's own programs do not. The first start prints an
    admin key, once. Raises RequestError when the address is taken or cannot be listened on.
    """
    configure_logs(settings.log_format)
    quiet = ("alembic", "uvicorn.error") if settings.log_requests else ("winnow.api", "alembic", "uvicorn.error")
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    listening = _listen(settings.host, settings.port)
    runner = RunnerChild(settings)
    app = create_app(settings, runner_alive=runner.alive)
    keep_loaded()
    _greet(settings, app.state.service, listening.getsockname()[1])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        proxy_headers=False,  # a header must not make a stranger look local
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_LAST_STREAMS_S,
    )
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # until uvicorn listens for it
    try:
        with listening, runner:
            _Server(config, app.state.service.outbox).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


class _Server(uvicorn.Server):
    """Ends quietly: uvicorn would raise the signal again once it has closed, and the runner is still to be told; and it
    would cut event streams off, which end by themselves once they are told."""

    def __init__(self, config: uvicorn.Config, outbox: Outbox):
        super().__init__(config)
        self._outbox = outbox

    def handle_exit(self, sig: int, frame: object) -> None:
        self.should_exit, self.force_exit = True, self.should_exit and sig == signal.SIGINT

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._outbox.end()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, as asyncio turns Nagle's algorithm off only then; with it every answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise RequestError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what is there, or take another --port"
        ) from error
    listening.set_inheritable(False)
    return listening


def _greet(settings: Settings, service: Service, port: int) -> None:
    """Says where it is, and on the first start the key that cannot be read again."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Winnow on http://{shown}:{port}  (root {settings.root})", flush=True)
    secret = service.catalog.keys.bootstrap()
    if secret is not None:
        print(f"First start. Admin key, shown this once: {secret}", flush=True)
    if local_access(settings):
        print("Programs of this machine need no key; nobody else is let in.", flush=True)
    elif is_loopback(settings.host):
        print("Other host names are served (WINNOW_ALLOWED_HOSTS), so every caller needs a key.", flush=True)
    else:
        print("Not a loopback address: every caller needs a key.", flush=True)


def _runner_of(settings: Settings) -> tuple[str, ...]:
    """A runner that outlives a killed counter for the work at hand and no longer: the next counter has its own."""
    return (sys.executable, "-P", "-m", "pipelines.runner", "--root", settings.root, "--beside", process_name())


def _environment() -> dict[str, str]:
    """The runner's: the counter's own, with these packages before any of the same name that lie elsewhere."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}

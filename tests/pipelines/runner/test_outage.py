"""PostgreSQL goes away in the midst of a run and comes back: the run stands still, goes on, nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.catalog import Catalog, CatalogJournal
from curator.errors import TransportError
from curator.run import Progress, RunRequest, RunState
from curator.settings import Settings
from pipelines.attempt import attempt, journal_of
from tests.pipelines.runner.work import summary_of, until

OUTAGE_S = 1.0


class Line:
    """A socket folder that leads to another server's, and can be cut."""

    def __init__(self, server: str):
        self.folder = tempfile.mkdtemp(prefix="winnow-line-")
        self._server, self.ends = f"{server}/.s.PGSQL.5432", set[socket.socket]()
        self.mend()

    def mend(self) -> None:
        path = Path(self.folder) / ".s.PGSQL.5432"
        path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen(64)
        threading.Thread(target=self._serve, args=(self._door,), daemon=True).start()

    def cut(self) -> None:
        os.unlink(Path(self.folder) / ".s.PGSQL.5432")
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for end in list(self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _serve(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._server)
            self.ends |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        self.ends.discard(source)
        source.close()


@pytest.fixture
def line(postgresql_server: str) -> Iterator[Line]:
    made = Line(postgresql_server)
    yield made
    made.cut()
    until(lambda: not made.ends)


def test_a_run_outlasts_its_database(line: Line, postgresql_server: str, postgresql_url: str, tmp_path: Path) -> None:
    url = postgresql_url.replace(postgresql_server, line.folder)
    settings = Settings(root=str(tmp_path), database_url=url, lease_s=0.5, heartbeat_s=0.1)
    cut = threading.Event()

    def work(claimed: object, journal: CatalogJournal, settings: Settings) -> object:
        for unit in range(6):
            if unit == 3:
                line.cut()
                cut.set()
                threading.Timer(OUTAGE_S, line.mend).start()
            journal.commit("score", unit, {"unit": unit})
            journal.progress(Progress(phase="score", rows_done=unit + 1))
        return summary_of("run_1")

    with Catalog.open(url) as catalog:
        run = catalog.runs.create("local", RunRequest(inputs=("rows.parquet",), recipe={"task": "text"}))
        claimed = catalog.runs.claim("me", settings.lease_s)
        assert claimed is not None
        began = time.monotonic()
        journal = journal_of(catalog, claimed, settings, threading.Event())
        attempt(catalog, claimed, journal, work, settings)  # type: ignore[arg-type]
        assert cut.is_set() and time.monotonic() - began >= OUTAGE_S
        after = catalog.runs.get("local", run.id)
        assert (after.state, after.attempt, after.progress.rows_done) == (RunState.SUCCEEDED, 1, 6)
        assert catalog.outputs.of_step(run.id, "score") == {unit: {"unit": unit} for unit in range(6)}
        line.cut()
        with pytest.raises(TransportError):
            catalog.runs.counts()
        line.mend()
        assert catalog.runs.counts()[RunState.SUCCEEDED] == 1  # the pool finds its way back by itself

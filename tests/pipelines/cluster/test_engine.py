"""The Ray engine is the inline engine elsewhere: same files, same manifest, whatever becomes of its workers."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curator.errors import InputError, RunFailedError, StoppedError
from curator.run import RunRequest, StopRequest
from curator.settings import Settings
from curator.stopping import listening
from pipelines.execute import execute
from pipelines.job import Job
from pipelines.phases import Step
from tests.pipelines.conftest import MemoryJournal
from tests.pipelines.test_execute import labelled_recipe, text_recipe

pytest.importorskip("pipelines.cluster.session")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    import pipelines.cluster.session as cluster

    cluster.connect(None)
    yield
    cluster.ray.shutdown()


def go(root: Path, request: RunRequest, **engine: Any) -> str:
    """The manifest of a run on a fresh root; `engine` options make it a Ray run."""
    if engine:
        from pipelines.cluster import engine as cluster

        def make(job: Job, _: object, __: object) -> Any:
            return cluster.RayEngine(job, **engine)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipelines.execute._engine", make)
            return execute(
                SimpleNamespace(id="run_1", request=request), MemoryJournal(), Settings(root=str(root))
            ).manifest
    return execute(SimpleNamespace(id="run_1", request=request), MemoryJournal(), Settings(root=str(root))).manifest


@pytest.mark.parametrize("kind", ["text", "labelled"])
def test_any_number_of_workers_gives_the_inline_manifest(
    tmp_path: Path, kind: str, texts: Path, labelled: dict[str, Path]
) -> None:
    request = (
        RunRequest(inputs=(str(texts),), recipe=text_recipe())
        if kind == "text"
        else RunRequest(
            inputs=(str(labelled["a"]), str(labelled["b"])), recipe=labelled_recipe(), trusted=str(labelled["trusted"])
        )
    )
    expected = go(tmp_path / "inline", request)
    for workers in (1, 3):
        assert go(tmp_path / f"ray-{workers}", request, num_workers=workers) == expected


def test_a_worker_killed_in_its_work_is_replaced(tmp_path: Path, texts: Path) -> None:
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe())
    expected = go(tmp_path / "inline", request)
    stop = threading.Event()
    killed: list[int] = []

    def reaper() -> None:
        """Kills worker processes of this engine one after another while it runs."""
        while not stop.wait(1.5) and len(killed) < 3:
            for pid in _worker_pids():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break

    thread = threading.Thread(target=reaper)
    thread.start()
    try:
        found = go(tmp_path / "ray", request, num_workers=2)
    finally:
        stop.set()
        thread.join()
    assert found == expected
    assert killed, "the run was over before a worker could be killed"


def _worker_pids() -> list[int]:
    """Ray workers below this process; another user's cluster on the machine is left alone."""
    seen = _processes()
    return [pid for pid, (command, _) in seen.items() if "ray::_Worker" in command and _ours(pid, seen)]


def _processes() -> dict[int, tuple[str, int]]:
    """Command line and parent of every process."""
    seen = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                seen[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace"), parent
            except OSError:
                continue
    return seen


def _ours(pid: int, seen: dict[int, tuple[str, int]]) -> bool:
    while pid in seen and pid != os.getpid():
        pid = seen[pid][1]
    return pid == os.getpid()


class Untransportable(Exception):
    """Holds what no process can hand to another."""

    def __init__(self, message: str):
        super().__init__(message)
        self.lock = threading.Lock()


def fail_plainly(*_: object) -> dict[str, Any]:
    raise ValueError("the number is odd")


def fail_untransportably(*_: object) -> dict[str, Any]:
    raise Untransportable("a lock is in it")


def fail_as_ours(*_: object) -> dict[str, Any]:
    raise InputError("is broken", file="rows.csv", row=3)


def read_and_tell_what_is_loaded(job: Job, unit: int) -> dict[str, Any]:
    import pipelines.phases.score  # noqa: F401 - what scores a unit has loaded

    rows = sum(batch.num_rows for _, batch in job.used_rows(unit))
    return {"rows": rows, "loaded": sorted(name for name in sys.modules if name.partition(".")[0] == "ray")}


def work_for_long(*_: object) -> dict[str, Any]:
    time.sleep(300)
    return {}


@pytest.fixture
def job(tmp_path: Path, texts: Path) -> Job:
    """A run that has been scored."""
    journal = MemoryJournal(stop_after=3)
    request = RunRequest(inputs=(str(texts),), recipe=text_recipe())
    with pytest.raises(StoppedError):
        execute(SimpleNamespace(id="run_1", request=request), journal, Settings(root=str(tmp_path)))
    return Job(str(tmp_path), "run_1")


def step_of(name: str, *, per_unit: bool = False) -> Step:
    return Step(name, "score", f"tests.pipelines.cluster.test_engine:{name}", "units" if per_unit else "set")


@pytest.mark.parametrize("per_unit", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("fail_plainly", ValueError, r"^the number is odd$"),
        ("fail_as_ours", InputError, r"^file rows.csv, row 3: is broken$"),
        (
            "fail_untransportably",
            RunFailedError,
            r"^a worker failed: .*Untransportable: a lock is in it; look at the log",
        ),
    ],
)
def test_a_workers_error_is_told_in_its_own_words(
    job: Job, per_unit: bool, name: str, kind: type[Exception], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    from pipelines.cluster.engine import RayEngine

    with (
        caplog.at_level(logging.ERROR),
        RayEngine(job, num_workers=1) as engine,
        pytest.raises(kind, match=words) as seen,
    ):
        step = step_of(name, per_unit=per_unit)
        list(engine.run_units(step, [0], {})) if per_unit else engine.run_set(step, {})
    assert type(seen.value) is kind and "\x1b" not in str(seen.value)
    assert f"in {name}" in caplog.text, "the worker's traceback is in the log"


def test_no_worker_that_reads_rows_has_loaded_ray_data(job: Job) -> None:
    """It runs pickles that it finds in Parquet metadata (CVE-2026-41486)."""
    from pipelines.cluster.engine import RayEngine

    with RayEngine(job, num_workers=1) as engine:
        [(_, told, _)] = list(engine.run_units(step_of("read_and_tell_what_is_loaded", per_unit=True), [0], {}))
    assert (
        told["rows"]
        and "ray" in told["loaded"]
        and not [name for name in told["loaded"] if name.startswith("ray.data")]
    )


@pytest.mark.parametrize("per_unit", [False, True])
def test_a_cancel_ends_a_worker_in_the_midst_of_a_step(job: Job, per_unit: bool) -> None:
    from pipelines.cluster.engine import RayEngine

    asked: list[StopRequest | None] = [None, None, "cancel"]
    engine = RayEngine(job, num_workers=1)
    with pytest.raises(StoppedError, match="cancel"), engine, listening(lambda: asked.pop(0)):
        step = step_of("work_for_long", per_unit=per_unit)
        list(engine.run_units(step, [0, 1], {})) if per_unit else engine.run_set(step, {})
    assert not asked

"""The runner as a process of its own: told to end, cut off, killed, frozen, and what its exit codes say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, Run
from curator.errors import (
    ConflictError,
    WinnowError,
)
from curator.run import RunState, RunSummary
from curator.settings import Settings
from pipelines.here import run_here
from pipelines.runner import Runner, main
from tests.pipelines.runner.work import PATIENCE_S, states, three_units, until

S = RunState
ROOT = Path(__file__).parents[3]

RUNNER = """
    import sys, time, types
    from curator.errors import StoppedError

    def execute(claimed, journal, settings):
        for unit in range(1000):
            if unit not in journal.done("score"):
                journal.commit("score", unit, {"unit": unit})
            stop = journal.stop_requested()
            if stop is not None and LISTENS:
                raise StoppedError(stop)
            time.sleep(0.005)

    LISTENS = sys.argv.pop() == "listens"
    sys.modules["pipelines.execute"] = types.SimpleNamespace(execute=execute)
    from pipelines.runner import main
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `python -m pipelines.runner` with work of a thousand short units put in."""
    processes: list[subprocess.Popen[str]] = []

    def started(*, listens: bool = True, **given: float) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
        for name in ("lease_s", "heartbeat_s", "poll_s", "grace_s"):
            environment[f"WINNOW_{name.upper()}"] = str(given.get(name, getattr(settings, name)))
        command = [sys.executable, "-c", textwrap.dedent(RUNNER), "--root", settings.root]
        command += ["listens" if listens else "deaf"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield started
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def at_work(catalog: Catalog, run: Run) -> bool:
    return len(catalog.outputs.of_step(run.id, "score")) > 2


def test_sigterm_gives_the_run_back(catalog: Catalog, queued: Run, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start()
    until(lambda: at_work(catalog, queued))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.attempt, run.lease_owner) == (S.QUEUED, 1, None)
    assert states(catalog, run.id) == ["queued", "validating", "running", "queued"]
    assert "Traceback" not in said


def test_work_that_does_not_listen_is_cut_off_after_the_grace_period(
    catalog: Catalog, queued: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(listens=False, grace_s=0.1)
    until(lambda: at_work(catalog, queued))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert "grace period" in said
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.attempt, run.lease_owner) == (S.QUEUED, 1, None)


def test_a_killed_runners_run_is_taken_over_at_once_and_goes_on(
    settings: Settings, catalog: Catalog, queued: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(lease_s=3600.0)
    until(lambda: at_work(catalog, queued))
    process.kill()
    process.wait()
    kept = catalog.outputs.of_step(queued.id, "score")
    seen: list[dict[int, dict[str, object]]] = []

    def go_on(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        seen.append(journal.done("score"))
        return three_units(claimed, journal, settings)

    assert Runner(settings, catalog, go_on).run_once() is True
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.attempt) == (S.SUCCEEDED, 2)
    assert seen == [kept] and len(kept) > 2
    assert states(catalog, run.id)[2:5] == ["running", "lost", "queued"]


def test_a_run_killed_here_is_resumed_here_at_once(
    settings: Settings, catalog: Catalog, queued: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(lease_s=3600.0)
    until(lambda: at_work(catalog, queued))
    with pytest.raises(ConflictError, match="under"):
        run_here(catalog, settings, three_units, resume="last")
    process.kill()
    process.wait()
    assert run_here(catalog, settings, three_units, resume="last").run == queued.id


def test_a_runner_frozen_past_its_lease_wakes_up_to_nothing(
    settings: Settings, catalog: Catalog, queued: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(lease_s=0.3, heartbeat_s=0.05)
    until(lambda: at_work(catalog, queued))
    process.send_signal(signal.SIGSTOP)
    runner = Runner(settings, catalog, three_units)
    try:
        # Frozen inside a transaction it would hold SQLite's one write lock; then it is let run a little further.
        until(lambda: _reaped_or_moved_on(runner, process))
        after = catalog.runs.get("local", queued.id)
        assert (after.state, after.attempt) == (S.SUCCEEDED, 2)
        units = catalog.outputs.of_step(queued.id, "score")
    finally:
        process.send_signal(signal.SIGCONT)
    time.sleep(0.2)  # long enough for dozens of the zombie's units
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "LeaseLostError" not in said and "its work is void" in said
    assert catalog.outputs.of_step(queued.id, "score") == units
    assert catalog.runs.get("local", queued.id) == after


def _reaped_or_moved_on(runner: Runner, process: subprocess.Popen[str]) -> bool:
    try:
        return runner.run_once()
    except WinnowError:
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
        return False


def test_a_wrong_setting_is_exit_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WINNOW_LEASES", "3")
    assert main(["--root", "nowhere"]) == 2
    assert "WINNOW_LEASE_S" in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_a_catalog_that_does_not_answer_is_exit_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WINNOW_DATABASE_URL", f"postgresql+psycopg://w@/w?host={tmp_path}")
    assert main(["--root", str(tmp_path)]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_the_runner_loads_neither_torch_nor_ray_before_it_works() -> None:
    code = "import sys, pipelines.runner; sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'fastapi')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

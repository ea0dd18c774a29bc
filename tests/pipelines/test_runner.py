"""The runner with the work put in: every way a run can end, in this process and in processes that are killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, JobState, Run, TrainingJob
from curator.catalog.schema import runs, training_jobs
from curator.errors import (
    ConflictError,
    DiskFullError,
    IntegrityError,
    LeaseLostError,
    NotFoundError,
    RecipeError,
    RequestError,
    RunFailedError,
    StoppedError,
    TransportError,
    WinnowError,
)
from curator.run import Progress, RunRequest, RunState, RunSummary
from curator.settings import Settings
from curator.storage import Store
from pipelines.lease import JobLease
from pipelines.runner import Runner, main, run_here, train_claimed

S = RunState
REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
PATIENCE_S = 60.0
ROOT = Path(__file__).parents[2]


def summary_of(run_id: str) -> RunSummary:
    return RunSummary(
        run=run_id,
        manifest="man_1",
        ledger="ledger",
        rows_in=3,
        kept=3,
        dropped=0,
        relabeled=0,
        reasons={},
        difficulty={},
        policy="rules",
        seconds=0.1,
        seconds_by_phase={},
        peak_rss_bytes=1,
    )


def three_units(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
    """Work of three units, one of a few milliseconds each, that listens between two of them."""
    for unit in range(3):
        if unit not in journal.done("score"):
            journal.commit("score", unit, {"unit": unit})
        journal.progress(Progress(phase="score", rows_total=3, rows_done=unit + 1))
        stop = journal.stop_requested()
        if stop is not None:
            raise StoppedError(stop)
    return summary_of(claimed.id)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path), lease_s=1.0, heartbeat_s=0.05, poll_s=0.01, grace_s=20.0)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    with Catalog.open(settings.database_url) as opened:
        yield opened


@pytest.fixture
def queued(catalog: Catalog) -> Run:
    return catalog.runs.create("local", REQUEST)


def states(catalog: Catalog, run_id: str) -> list[str]:
    return [step.to_state.value for step in catalog.runs.history("local", run_id)]


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# --- how a run ends ----------------------------------------------------------------------------------------------


def test_success(settings: Settings, catalog: Catalog, queued: Run) -> None:
    runner = Runner(settings, catalog, three_units)
    assert runner.run_once() is True
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.summary, run.progress.rows_done) == (S.SUCCEEDED, summary_of(run.id), 3)
    assert states(catalog, run.id) == ["queued", "validating", "running", "finalizing", "succeeded"]
    assert runner.run_once() is False


def test_the_heartbeat_keeps_a_run_longer_than_its_lease(settings: Settings, catalog: Catalog, queued: Run) -> None:
    short = settings.model_copy(update={"lease_s": 0.4})

    def slow(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        first = catalog.runs.get("local", claimed.id).lease_until
        assert first is not None
        until(lambda: catalog.database.clock() > first)
        assert catalog.runs.reap(3) == []
        return summary_of(claimed.id)

    Runner(short, catalog, slow).run_once()
    assert catalog.runs.get("local", queued.id).state == S.SUCCEEDED


@pytest.mark.parametrize(
    ("error", "code", "resumable"),
    [
        (RunFailedError("no more"), "run_failed", True),
        (DiskFullError("full"), "disk_full", True),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", True),
        (RecipeError("no column"), "bad_recipe", False),
        (IntegrityError("other bytes"), "integrity", False),
        (ZeroDivisionError("by zero"), "internal", True),
        (MemoryError(), "internal", True),
    ],
)
def test_failure(
    settings: Settings, catalog: Catalog, queued: Run, error: Exception, code: str, resumable: bool
) -> None:
    def fail(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        journal.commit("score", 0, {"unit": 0})
        raise error

    assert Runner(settings, catalog, fail).run_once() is True
    run = catalog.runs.get("local", queued.id)
    assert run.state == S.FAILED and run.error is not None
    assert (run.error.code, run.error.resumable) == (code, resumable)
    assert str(error) in run.error.message
    assert catalog.runs.claim("other", 1.0) is None
    if resumable:
        catalog.runs.resume("local", run.id)
        Runner(settings, catalog, three_units).run_once()
        assert catalog.runs.get("local", run.id).state == S.SUCCEEDED


def test_a_passing_fault_is_tried_again_after_a_while_and_not_for_ever(
    settings: Settings, catalog: Catalog, queued: Run
) -> None:
    def away(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        raise TransportError("the store did not answer")

    runner = Runner(settings, catalog, away)
    for attempt in (2, 3):
        assert runner.run_once() is True
        run = catalog.runs.get("local", queued.id)
        assert (run.state, run.attempt) == (S.QUEUED, attempt)
        assert run.not_before is not None and run.not_before > catalog.database.clock()
        assert runner.run_once() is False
        with catalog.database.write() as connection:
            connection.execute(sa.update(runs).values(not_before=runs.c.created_at))
    assert runner.run_once() is True
    run = catalog.runs.get("local", queued.id)
    assert run.state == S.FAILED and run.error is not None and run.error.code == "transport" and run.error.resumable


@pytest.mark.parametrize(("stop", "end"), [("cancel", S.CANCELLED), ("pause", S.PAUSED)])
def test_a_stop_is_heard_between_two_units(
    settings: Settings, catalog: Catalog, queued: Run, stop: str, end: RunState
) -> None:
    def stopped(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        journal.commit("score", 0, {"unit": 0})
        catalog.runs.request_stop("local", claimed.id, stop)  # type: ignore[arg-type]
        until(lambda: journal.stop_requested() == stop)
        return three_units(claimed, journal, settings)

    Runner(settings, catalog, stopped).run_once()
    assert catalog.runs.get("local", queued.id).state == end
    assert list(catalog.outputs.of_step(queued.id, "score")) == [0]
    if end == S.PAUSED:
        catalog.runs.resume("local", queued.id)
        Runner(settings, catalog, three_units).run_once()
        assert catalog.runs.get("local", queued.id).state == S.SUCCEEDED
        assert list(catalog.outputs.of_step(queued.id, "score")) == [0, 1, 2]


@pytest.mark.parametrize(("stop", "end"), [("cancel", S.CANCELLED), ("pause", S.PAUSED)])
def test_a_stop_the_work_did_not_hear_is_honoured_at_its_end(
    settings: Settings, catalog: Catalog, queued: Run, stop: str, end: RunState
) -> None:
    def deaf(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        catalog.runs.request_stop("local", claimed.id, stop)  # type: ignore[arg-type]
        return summary_of(claimed.id)

    Runner(settings, catalog, deaf).run_once()
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.summary) == (end, None)


def test_a_stop_before_the_work_begins(settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    run = catalog.runs.create("local", REQUEST)
    claim = catalog.runs.claim

    def claim_and_cancel(owner: str, lease_s: float) -> ClaimedRun | None:
        claimed = claim(owner, lease_s)
        catalog.runs.request_stop("local", run.id, "cancel")
        return claimed

    monkeypatch.setattr(catalog.runs, "claim", claim_and_cancel)
    worked: list[str] = []
    Runner(settings, catalog, lambda claimed, journal, settings: worked.append(claimed.id)).run_once()  # type: ignore
    assert worked == []
    assert states(catalog, run.id) == ["queued", "validating", "cancelling", "cancelled"]


def test_a_runner_that_lost_its_run_stops_quietly_and_changes_nothing(
    settings: Settings, catalog: Catalog, queued: Run
) -> None:
    heard: list[type[Exception]] = []

    def lose(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        catalog.runs.reap(3, is_dead=lambda owner: True)
        successor = catalog.runs.claim("other", 60.0)
        assert successor is not None
        catalog.outputs.commit(successor, "score", 0, {"by": "other"})
        try:
            journal.commit("score", 0, {"by": "zombie"})
        except LeaseLostError as error:
            heard.append(type(error))
            raise
        return summary_of(claimed.id)

    assert Runner(settings, catalog, lose).run_once() is True
    run = catalog.runs.get("local", queued.id)
    assert heard == [LeaseLostError]
    assert (run.state, run.lease_owner, run.error) == (S.VALIDATING, "other", None)
    assert catalog.outputs.of_step(run.id, "score") == {0: {"by": "other"}}


def test_a_lost_lease_at_the_very_end_does_not_become_a_success(
    settings: Settings, catalog: Catalog, queued: Run
) -> None:
    def late(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        catalog.runs.reap(3, is_dead=lambda owner: True)
        return summary_of(claimed.id)

    Runner(settings, catalog, late).run_once()
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.attempt, run.summary) == (S.QUEUED, 2, None)


def test_a_stopped_runner_gives_the_run_back_and_claims_nothing_more(settings: Settings, catalog: Catalog) -> None:
    first, second = (catalog.runs.create("local", REQUEST) for _ in range(2))

    def stop_runner(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        runner.stop()
        return three_units(claimed, journal, settings)

    runner = Runner(settings, catalog, stop_runner)
    runner.run_forever()
    run = catalog.runs.get("local", first.id)
    assert (run.state, run.attempt, run.lease_owner) == (S.QUEUED, 1, None)
    assert catalog.runs.get("local", second.id).version == 1


def test_a_catalog_that_is_away_is_asked_again(
    settings: Settings, catalog: Catalog, queued: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reap, faults = catalog.runs.reap, [TransportError("away"), TransportError("away")]

    def flaky(*arguments: object, **options: object) -> list[Run]:
        if faults:
            raise faults.pop()
        return reap(3)

    def last(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        done = three_units(claimed, journal, settings)
        runner.stop()
        return done

    monkeypatch.setattr(catalog.runs, "reap", flaky)
    runner = Runner(settings, catalog, last)
    runner.run_forever()
    assert faults == []
    assert catalog.runs.get("local", queued.id).state == S.SUCCEEDED


def test_two_runners_share_the_queue(settings: Settings, catalog: Catalog) -> None:
    made = [catalog.runs.create("local", REQUEST).id for _ in range(6)]
    worked: list[tuple[str, int]] = []

    def note(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        worked.append((claimed.id, claimed.attempt))
        return three_units(claimed, journal, settings)

    runners = [Runner(settings, catalog, note) for _ in range(2)]
    threads = [threading.Thread(target=runner.run_forever) for runner in runners]
    for thread in threads:
        thread.start()
    until(lambda: catalog.runs.counts()[S.SUCCEEDED] == len(made))
    for runner in runners:
        runner.stop()
    for thread in threads:
        thread.join()
    assert sorted(worked) == [(run_id, 1) for run_id in made]


# --- training jobs -------------------------------------------------------------------------------------------------


def queue_job(catalog: Catalog) -> TrainingJob:
    return catalog.jobs.create("local", "managed", plan=None, spec={"entry": "text-classifier"})


def idle(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
    raise AssertionError("there is no run")


def test_a_job_is_trained_when_no_run_waits(settings: Settings, catalog: Catalog, queued: Run) -> None:
    job, order = queue_job(catalog), []

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        order.append(lease.job.id)
        lease.progress(step=4, total_steps=8)
        until(lambda: catalog.jobs.get("local", job.id).progress == {"step": 4, "total_steps": 8})
        catalog.jobs.move("local", job.id, JobState.SUCCEEDED, result={"accuracy": 1.0})
        runner.stop()

    def work(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        order.append(claimed.id)
        return three_units(claimed, journal, settings)

    runner = Runner(settings, catalog, work, train)
    runner.run_forever()
    assert order == [queued.id, job.id]
    assert catalog.jobs.get("local", job.id).state == JobState.SUCCEEDED


def test_jobs_are_left_alone_without_a_trainer(settings: Settings, catalog: Catalog) -> None:
    job = queue_job(catalog)
    assert Runner(settings, catalog, idle).train_once() is False
    assert catalog.jobs.get("local", job.id) == job


@pytest.mark.parametrize("how", ["cancel", "shutdown"])
def test_a_trainer_is_told_to_stop(settings: Settings, catalog: Catalog, how: str) -> None:
    job = queue_job(catalog)

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        assert not lease.should_stop()
        if how == "cancel":
            catalog.jobs.move("local", job.id, JobState.CANCELLED)
        else:
            runner.stop()
        until(lease.should_stop)

    runner = Runner(settings, catalog, idle, train)
    assert runner.train_once() is True
    row = catalog.jobs.get("local", job.id)
    assert (row.state, row.attempt) == (JobState.CANCELLED if how == "cancel" else JobState.QUEUED, 1)
    assert runner.train_once() is False


def test_a_trainer_that_fails_in_passing_is_given_time(settings: Settings, catalog: Catalog) -> None:
    job = queue_job(catalog)

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        raise TransportError("the store did not answer")

    runner = Runner(settings, catalog, idle, train)
    assert runner.train_once() is True
    assert catalog.jobs.get("local", job.id).state == JobState.QUEUED
    assert runner.train_once() is False


def test_a_trainer_that_lost_its_job_touches_nothing(settings: Settings, catalog: Catalog) -> None:
    job = queue_job(catalog)

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        until(taken)
        until(lease.should_stop)

    def taken() -> bool:
        with catalog.database.write() as connection:
            connection.execute(sa.update(training_jobs).values(lease_until=0.0))
        return catalog.jobs.claim("other", 60.0, 3) is not None

    Runner(settings, catalog, idle, train).train_once()
    row = catalog.jobs.get("local", job.id)
    assert (row.state, row.attempt) == (JobState.RUNNING, 2)


def test_a_real_job_is_trained_and_reported(settings: Settings, catalog: Catalog) -> None:
    from tests.pipelines.training.examples import SMALL, texts, write_curated

    recipe = SMALL["text-classifier"]
    manifest = write_curated(Store.open(settings.root), texts(60))
    spec = {"entry": recipe.kind, "manifest": manifest.id, "recipe": recipe.model_dump(mode="json")}
    job = catalog.jobs.create("local", "managed", plan=None, spec=spec)
    assert Runner(settings, catalog, idle, train_claimed).train_once() is True
    row = catalog.jobs.get("local", job.id)
    assert row.state == JobState.SUCCEEDED and row.result is not None and row.result["finished"]
    assert sum(batch.accepted for batch in catalog.feedback.batches("local", job.id)) == row.result["num_samples"]


def test_the_runner_tidies_once_an_hour(
    settings: Settings, catalog: Catalog, queued: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned: list[float] = []
    monkeypatch.setattr(catalog.events, "prune", pruned.append)

    def last(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        runner.stop()
        return summary_of(claimed.id)

    catalog.runs.create("local", REQUEST)
    runner = Runner(settings, catalog, three_units)
    runner.run_once()
    runner.execute = last
    runner.run_forever()
    assert pruned == [7 * 86400.0]


# --- one run here, without a server --------------------------------------------------------------------------------


def test_run_here(settings: Settings, catalog: Catalog) -> None:
    claims: list[ClaimedRun] = []
    summary = run_here(catalog, settings, three_units, request=REQUEST, on_claimed=claims.append)
    assert summary == summary_of(claims[0].id)
    assert catalog.runs.get("local", summary.run).state == S.SUCCEEDED


def test_run_here_fails_and_resumes(settings: Settings, catalog: Catalog) -> None:
    def fail(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        journal.commit("score", 0, {"unit": 0})
        raise TransportError("away")

    with pytest.raises(TransportError):
        run_here(catalog, settings, fail, request=REQUEST)
    (run,) = catalog.runs.page("local").items
    assert run.state == S.FAILED  # nobody else picks it up: the person at the keyboard decides
    summary = run_here(catalog, settings, three_units, resume="last")
    assert summary.run == run.id
    assert catalog.runs.get("local", run.id).attempt == 2


def test_run_here_leaves_an_interrupted_run_paused(settings: Settings, catalog: Catalog) -> None:
    def interrupted(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        os.kill(os.getpid(), signal.SIGINT)
        return three_units(claimed, journal, settings)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError) as caught:
        run_here(catalog, settings, interrupted, request=REQUEST)
    assert caught.value.request == "shutdown"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    (run,) = catalog.runs.page("local").items
    assert run.state == S.PAUSED
    assert Runner(settings, catalog, three_units).run_once() is False
    assert run_here(catalog, settings, three_units, resume=run.id).run == run.id


def test_the_second_ctrl_c_does_not_wait(settings: Settings, catalog: Catalog) -> None:
    def deaf(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: False)
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        run_here(catalog, settings, deaf, request=REQUEST)
    assert catalog.runs.page("local").items[0].state == S.PAUSED


def test_run_here_refuses_what_cannot_be(settings: Settings, catalog: Catalog) -> None:
    for wrong in ({}, {"request": REQUEST, "resume": "last"}):
        with pytest.raises(RequestError, match="either"):
            run_here(catalog, settings, three_units, **wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        run_here(catalog, settings, three_units, resume="last")
    done = run_here(catalog, settings, three_units, request=REQUEST)
    with pytest.raises(ConflictError, match="succeeded"):
        run_here(catalog, settings, three_units, resume=done.run)


def test_run_here_may_be_called_from_another_thread(settings: Settings, catalog: Catalog) -> None:
    done: list[RunSummary] = []
    thread = threading.Thread(target=lambda: done.append(run_here(catalog, settings, three_units, request=REQUEST)))
    thread.start()
    thread.join()
    assert len(done) == 1


# --- processes ---------------------------------------------------------------------------------------------------

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
        time.sleep(0.01)
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

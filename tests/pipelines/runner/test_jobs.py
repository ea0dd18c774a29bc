"""Training jobs: taken when no run waits, given back, and never touched by a runner that lost them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, JobState, Run, TrainingJob
from curator.catalog.schema import training_jobs
from curator.errors import TransportError
from curator.run import RunSummary
from curator.settings import Settings
from curator.storage import Store
from curator.tracing import tracing
from pipelines.lease import JobLease, owner_name
from pipelines.runner import Runner, Write, train_claimed
from tests.collector import Collector
from tests.pipelines.runner.work import REQUEST, three_units, until


def queue_job(catalog: Catalog) -> TrainingJob:
    return catalog.jobs.create("local", "managed", plan=None, spec={"entry": "text-classifier"})


def idle(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
    raise AssertionError("there is no run")


def test_a_job_is_trained_when_no_run_waits(
    settings: Settings, catalog: Catalog, queued: Run, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
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
    with Collector() as collector:
        with tracing(Settings(otlp_endpoint=collector.url), "winnow-runner"):
            runner.run_forever()
        assert collector.spans()["train"].attributes == {"winnow.id": job.id, "winnow.attempt": 1}
    assert order == [queued.id, job.id]
    told = [(line.get("run"), line.get("training_job")) for line in log_lines() if "begins" in line["message"]]
    assert told == [(queued.id, None), (None, job.id)]
    assert catalog.jobs.get("local", job.id).state == JobState.SUCCEEDED


def test_a_queue_that_never_ends_keeps_nothing_else_waiting(settings: Settings, catalog: Catalog) -> None:
    order: list[str] = []

    def work(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
        order.append("run")
        catalog.runs.create("local", REQUEST)  # there is always another one
        return three_units(claimed, journal, settings)

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        order.append("job")
        catalog.jobs.move("local", lease.job.id, JobState.SUCCEEDED)

    def write(what: str, left: list[int]) -> Write:
        def once(*given: object) -> bool:
            order.extend([what] if left else [])
            return bool(left and left.pop())

        return once

    catalog.runs.create("local", REQUEST)
    for _ in range(2):
        queue_job(catalog)
    runner = Runner(settings, catalog, work, train, write("export", [1, 1, 1]), write("rewrite", [1]))
    assert all(runner.work_once() for _ in range(9))
    assert order == ["run", "job", "export", "rewrite", "run", "job", "export", "run", "export"]


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


def test_a_killed_runners_job_is_taken_over_at_once(settings: Settings, catalog: Catalog) -> None:
    job = queue_job(catalog)
    command = [sys.executable, "-c", "from pipelines.lease import owner_name; print(owner_name())"]
    dead = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert catalog.jobs.claim(dead, 3600.0) is not None
    taken: list[tuple[str, int]] = []

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        taken.append((lease.job.id, lease.job.attempt))
        catalog.jobs.move("local", job.id, JobState.SUCCEEDED)

    assert Runner(settings, catalog, idle, train).train_once() is True
    assert taken == [(job.id, 2)]


def test_a_living_runners_job_is_left_to_it(settings: Settings, catalog: Catalog) -> None:
    queue_job(catalog)
    claim = catalog.jobs.claim(owner_name(), 3600.0)
    assert claim is not None
    assert Runner(settings, catalog, idle, train_claimed).train_once() is False
    catalog.jobs.heartbeat(claim, 60.0)


def test_progress_that_did_not_get_through_is_brought_by_the_next_heartbeat(
    settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue_job(catalog)
    claim = catalog.jobs.claim("me", 60.0)
    assert claim is not None
    lease = JobLease(catalog, claim, 60.0, threading.Event())
    lease.progress(step=3)
    with monkeypatch.context() as patched:
        patched.setattr(type(catalog.jobs), "heartbeat", silent)
        with pytest.raises(TransportError):
            lease.flush()
    lease.flush()
    assert catalog.jobs.get("local", job.id).progress == {"step": 3}


def silent(*_: object) -> None:
    raise TransportError("the catalog does not answer")


def test_a_trainer_that_lost_its_job_touches_nothing(settings: Settings, catalog: Catalog) -> None:
    job = queue_job(catalog)

    def train(catalog: Catalog, lease: JobLease, settings: Settings) -> None:
        until(taken)
        until(lease.should_stop)

    def taken() -> bool:
        with catalog.database.write() as connection:
            connection.execute(sa.update(training_jobs).values(lease_until=0.0))
        catalog.jobs.reap(3)
        return catalog.jobs.claim("other", 60.0) is not None

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

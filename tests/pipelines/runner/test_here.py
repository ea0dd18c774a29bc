"""One run in this process without a server: interrupted, failed, resumed."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from curator.catalog import Catalog, CatalogJournal, ClaimedRun
from curator.errors import (
    ConflictError,
    NotFoundError,
    RequestError,
    StoppedError,
    TransportError,
)
from curator.run import RunState, RunSummary
from curator.settings import Settings
from pipelines.here import run_here
from pipelines.runner import Runner
from tests.pipelines.runner.work import REQUEST, summary_of, three_units, until

S = RunState


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

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            run_here(catalog, settings, deaf, request=REQUEST)
    finally:
        signal.signal(signal.SIGINT, before)
    assert catalog.runs.page("local").items[0].state == S.PAUSED


def test_run_here_refuses_what_cannot_be(settings: Settings, catalog: Catalog) -> None:
    for wrong in ({}, {"request": REQUEST, "resume": "last"}):
        with pytest.raises(RequestError, match="either"):
            run_here(catalog, settings, three_units, **wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        run_here(catalog, settings, three_units, resume="last")
    run_here(catalog, settings, three_units, request=REQUEST)
    run = catalog.runs.create("local", REQUEST)
    catalog.runs.request_stop("local", run.id, "cancel")
    with pytest.raises(ConflictError, match="cancelled"):
        run_here(catalog, settings, three_units, resume=run.id)


@pytest.mark.parametrize("name", ["last", None])
def test_resuming_what_succeeded_tells_its_summary(settings: Settings, catalog: Catalog, name: str | None) -> None:
    """A process killed between its run's last write and its own last word leaves a run that is done."""

    def never(*_: object) -> RunSummary:
        raise AssertionError("nothing is done again")

    done = run_here(catalog, settings, three_units, request=REQUEST)
    assert run_here(catalog, settings, never, resume=name or done.run) == done


def test_run_here_may_be_called_from_another_thread(settings: Settings, catalog: Catalog) -> None:
    done: list[RunSummary] = []
    thread = threading.Thread(target=lambda: done.append(run_here(catalog, settings, three_units, request=REQUEST)))
    thread.start()
    thread.join()
    assert len(done) == 1

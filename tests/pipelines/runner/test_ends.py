"""The runner with the work put in: every way a run can end."""

from __future__ import annotations

import errno
import threading

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, Run
from curator.catalog.schema import runs
from curator.errors import (
    DiskFullError,
    IntegrityError,
    LeaseLostError,
    RecipeError,
    RunFailedError,
    TransportError,
)
from curator.run import RunState, RunSummary
from curator.settings import Settings
from pipelines.runner import Runner
from tests.pipelines.runner.work import REQUEST, states, summary_of, three_units, until

S = RunState


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


def test_a_run_stands_still_while_the_catalog_is_away_and_goes_on_after(
    settings: Settings, catalog: Catalog, queued: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the run asks of the catalog does not get through the first two times."""
    away: dict[str, int] = {}

    def flaky(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: object, **options: object) -> object:
            key = f"{name} {away.get('turn', 0)}"
            away[key] = away.get(key, 0) + 1
            if away[key] <= 2:
                raise TransportError("the catalog does not answer")
            away["turn"] = away.get("turn", 0) + 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    with monkeypatch.context() as monkeypatch:
        for owner, name in ((catalog.outputs, "of_step"), (catalog.outputs, "commit"), (catalog.runs, "move")):
            flaky(owner, name)
        Runner(settings, catalog, three_units).run_once()
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.attempt, list(catalog.outputs.of_step(run.id, "score"))) == (S.SUCCEEDED, 1, [0, 1, 2])


def test_an_outage_that_lasts_ends_the_attempt(
    settings: Settings, catalog: Catalog, queued: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise TransportError("the catalog does not answer")

    monkeypatch.setattr(catalog.outputs, "commit", away)
    Runner(settings.model_copy(update={"outage_s": 0.3}), catalog, three_units).run_once()
    run = catalog.runs.get("local", queued.id)
    assert (run.state, run.attempt) == (S.QUEUED, 2)


def test_a_move_that_went_through_unanswered_is_not_made_twice(
    settings: Settings, catalog: Catalog, queued: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, unanswered = catalog.runs.move, [S.RUNNING, S.FINALIZING]

    def cut(*arguments: object, **options: object) -> Run:
        moved = move(*arguments, **options)  # type: ignore[arg-type]
        if moved.state in unanswered:
            unanswered.remove(moved.state)
            raise TransportError("the connection broke")
        return moved

    monkeypatch.setattr(catalog.runs, "move", cut)
    Runner(settings, catalog, three_units).run_once()
    assert unanswered == []
    assert states(catalog, queued.id) == ["queued", "validating", "running", "finalizing", "succeeded"]


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

    def claim_and_cancel(owner: str, lease_s: float, **options: int) -> ClaimedRun | None:
        claimed = claim(owner, lease_s, **options)
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

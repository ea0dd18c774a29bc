"""The journal in the catalog: once, fenced, and not chatty."""

from __future__ import annotations

import threading

import pytest

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, RunFault
from curator.errors import IntegrityError, LeaseLostError, TransportError
from curator.run import Journal, Progress, RunRequest, RunState


@pytest.fixture
def claimed(catalog: Catalog, request_: RunRequest) -> ClaimedRun:
    return catalog.runs.create_claimed("local", request_, "me", 60.0)


@pytest.fixture
def journal(catalog: Catalog, claimed: ClaimedRun) -> CatalogJournal:
    return CatalogJournal(catalog, claimed, lease_s=60.0, stop_poll_s=0.0)


def test_it_is_a_journal(journal: CatalogJournal) -> None:
    protocol: Journal = journal
    assert protocol.done("score") == {}


def test_units_come_back_by_step(journal: CatalogJournal) -> None:
    for unit in (2, 0, 1):
        journal.commit("score", unit, {"rows": unit, "files": ["a", "b"], "nested": {"x": None}})
    journal.commit("resolve", -1, {"clusters": 4})
    assert journal.done("score")[1] == {"rows": 1, "files": ["a", "b"], "nested": {"x": None}}
    assert list(journal.done("score")) == [0, 1, 2]
    assert journal.done("resolve") == {-1: {"clusters": 4}}


def test_the_same_commit_twice_is_one(journal: CatalogJournal) -> None:
    journal.commit("score", 0, {"a": 1, "b": [1.5]})
    journal.commit("score", 0, {"b": [1.5], "a": 1})
    assert journal.done("score") == {0: {"a": 1, "b": [1.5]}}


def test_another_output_for_a_committed_unit_is_refused(journal: CatalogJournal) -> None:
    journal.commit("score", 0, {"digest": "one"})
    with pytest.raises(IntegrityError, match=r"'one'.*'two'"):
        journal.commit("score", 0, {"digest": "two"})
    assert journal.done("score") == {0: {"digest": "one"}}


def test_runs_do_not_see_each_other(catalog: Catalog, journal: CatalogJournal, request_: RunRequest) -> None:
    other = CatalogJournal(catalog, catalog.runs.create_claimed("local", request_, "me", 60.0), lease_s=60.0)
    journal.commit("score", 0, {"mine": True})
    assert other.done("score") == {}


def test_a_number_json_does_not_know_is_refused(journal: CatalogJournal) -> None:
    with pytest.raises(ValueError, match="JSON"):
        journal.commit("score", 0, {"loss": float("nan")})
    assert journal.done("score") == {}


def test_progress_is_written_once_a_period_and_the_heartbeat_brings_the_rest(
    catalog: Catalog, claimed: ClaimedRun
) -> None:
    journal = CatalogJournal(catalog, claimed, lease_s=60.0, progress_every_s=3600.0)
    before = catalog.runs.get("local", claimed.id).version
    for rows in range(50):
        journal.progress(Progress(phase="score", rows_done=rows))
    assert catalog.runs.get("local", claimed.id).version == before + 1
    assert catalog.runs.get("local", claimed.id).progress.rows_done == 0
    journal.heartbeat()
    assert catalog.runs.get("local", claimed.id).progress.rows_done == 49
    journal.heartbeat()  # nothing new: the lease is renewed, the version (ETag) stays
    assert catalog.runs.get("local", claimed.id).version == before + 2
    told = [event for event in catalog.events.after("local", 0) if event.kind == "run.progress"]
    assert [event.data["progress"]["rows_done"] for event in told] == [49]


def test_progress_that_did_not_get_through_is_brought_by_the_next_heartbeat(
    catalog: Catalog, claimed: ClaimedRun, journal: CatalogJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise TransportError("the catalog does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(catalog.runs, "heartbeat", silent)
        journal.progress(Progress(phase="score", rows_done=5))  # the work does not stop for it
        with pytest.raises(TransportError):
            journal.flush()
    journal.flush()
    assert catalog.runs.get("local", claimed.id).progress.rows_done == 5


def test_an_older_progress_is_never_written_over_a_newer_one(
    catalog: Catalog, claimed: ClaimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = CatalogJournal(catalog, claimed, lease_s=60.0, progress_every_s=0.0)
    write, begun, later = catalog.runs.heartbeat, threading.Event(), threading.Event()

    def slow(run: ClaimedRun, lease_s: float, progress: Progress | None = None) -> RunState:
        if progress is not None and progress.rows_done == 1:
            begun.set()
            later.wait(0.2)  # the newer progress gets every chance to be first
        state = write(run, lease_s, progress)
        later.set()
        return state

    monkeypatch.setattr(catalog.runs, "heartbeat", slow)
    thread = threading.Thread(target=lambda: journal.progress(Progress(rows_done=1)))
    thread.start()
    assert begun.wait(20)
    journal.progress(Progress(rows_done=2))
    thread.join()
    assert catalog.runs.get("local", claimed.id).progress.rows_done == 2


def test_a_heartbeat_renews_the_lease(catalog: Catalog, claimed: ClaimedRun, journal: CatalogJournal) -> None:
    before = catalog.runs.get("local", claimed.id).lease_until
    CatalogJournal(catalog, claimed, lease_s=600.0).heartbeat()
    after = catalog.runs.get("local", claimed.id).lease_until
    assert before is not None and after is not None and (after - before).total_seconds() > 500


def test_stops_are_heard(catalog: Catalog, claimed: ClaimedRun) -> None:
    shutdown = threading.Event()
    journal = CatalogJournal(catalog, claimed, lease_s=60.0, stop_poll_s=0.0, shutdown=shutdown)
    assert journal.stop_requested() is None
    catalog.runs.request_stop("local", claimed.id, "pause")
    assert journal.stop_requested() == "pause"
    catalog.runs.request_stop("local", claimed.id, "cancel")
    assert journal.stop_requested() == "cancel"
    shutdown.set()
    assert journal.stop_requested() == "shutdown"


def test_the_heartbeat_brings_stops_between_polls(catalog: Catalog, claimed: ClaimedRun) -> None:
    journal = CatalogJournal(catalog, claimed, lease_s=60.0, stop_poll_s=3600.0)
    assert journal.stop_requested() is None
    catalog.runs.request_stop("local", claimed.id, "cancel")
    assert journal.stop_requested() is None
    assert journal.heartbeat() == RunState.CANCELLING
    assert journal.stop_requested() == "cancel"


def test_after_a_lost_lease_every_word_is_refused(
    catalog: Catalog, claimed: ClaimedRun, journal: CatalogJournal, time_machine: object
) -> None:
    journal.commit("score", 0, {"kept": 1})
    time_machine.expire(claimed)  # type: ignore[attr-defined]
    catalog.runs.reap(3)
    for act in (
        lambda: journal.commit("score", 1, {}),
        lambda: journal.commit("score", 0, {"kept": 1}),
        lambda: journal.progress(Progress()),
        journal.stop_requested,
        journal.heartbeat,
    ):
        with pytest.raises(LeaseLostError):
            act()
    successor = catalog.runs.claim("other", 60.0)
    assert successor is not None
    assert CatalogJournal(catalog, successor, lease_s=60.0).done("score") == {0: {"kept": 1}}


def test_threads_may_share_it(catalog: Catalog, journal: CatalogJournal) -> None:
    faults: list[Exception] = []

    def commit(units: range) -> None:
        try:
            for unit in units:
                journal.commit("score", unit, {"unit": unit})
                journal.progress(Progress(rows_done=unit))
                journal.stop_requested()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=commit, args=(range(start, start + 10),)) for start in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert journal.done("score") == {unit: {"unit": unit} for unit in range(40)}


def test_what_unfinished_runs_committed_is_told(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.outputs.commit(claimed, "write", 0, {"shards": ["a"]})
    catalog.outputs.commit(claimed, "score", 0, {"rows": 1})
    assert catalog.outputs.unfinished("write") == [{"shards": ["a"]}]
    catalog.runs.fail(claimed, RunFault(code="run_failed", message="broken", resumable=True))
    assert catalog.outputs.unfinished("write") == [{"shards": ["a"]}]
    again = catalog.runs.claim_this("local", claimed.id, "me", 60.0)
    catalog.runs.request_stop("local", claimed.id, "cancel")
    catalog.runs.release(again, "cancelled")
    assert catalog.outputs.unfinished("write") == []

"""The same catalog on PostgreSQL, where writers do meet: what locks, skipped rows and event order are for."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, CatalogJournal, ClaimedRun, ShardPlace
from curator.catalog.database import hold_event_order
from curator.catalog.events import emit
from curator.catalog.schema import runs
from curator.errors import ConflictError, LeaseLostError
from curator.run import Progress, RunRequest, RunState, RunSummary
from tests.postgresql import missing

S = RunState


def together(count: int, act: Callable[[int], None]) -> None:
    """Runs `act(0…count-1)` in threads that start at once; their faults are raised here."""
    faults: list[BaseException] = []
    gate = threading.Barrier(count)

    def body(number: int) -> None:
        try:
            gate.wait()
            act(number)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


@pytest.mark.parametrize(("set_to", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_where_it_is_missing_its_tests_skip_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, set_to: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("REQUIRE_POSTGRESQL", set_to)
    with pytest.raises(outcome, match="no initdb"):
        missing("no initdb")
    assert "REQUIRE_POSTGRESQL=1" in (Path(__file__).parents[3] / ".ci" / "run").read_text()


def test_the_whole_road(postgresql: Catalog, request_: RunRequest, summary: RunSummary) -> None:
    run = postgresql.runs.create("local", request_)
    claimed = postgresql.runs.claim("me", 60.0)
    assert claimed is not None and claimed.id == run.id
    journal = CatalogJournal(postgresql, claimed, lease_s=60.0, stop_poll_s=0.0)
    journal.commit("score", 0, {"rows": 3})
    journal.commit("score", 0, {"rows": 3})
    journal.progress(Progress(phase="score", rows_done=3))
    assert journal.stop_requested() is None
    for before, after in ((S.VALIDATING, S.RUNNING), (S.RUNNING, S.FINALIZING)):
        postgresql.runs.move(claimed, {before}, after)
    done = postgresql.runs.move(claimed, {S.FINALIZING}, S.SUCCEEDED, summary=summary)
    assert done == postgresql.runs.get("local", run.id)
    assert (done.summary, done.progress.rows_done) == (summary, 3)
    assert [step.to_state for step in postgresql.runs.history("local", run.id)][-1] == S.SUCCEEDED
    assert abs(done.updated_at - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=60)


def test_no_run_is_claimed_twice(postgresql: Catalog, request_: RunRequest) -> None:
    made = [postgresql.runs.create("local", request_).id for _ in range(12)]
    claims: list[ClaimedRun] = []

    def claim_all(number: int) -> None:
        while (claimed := postgresql.runs.claim(f"runner {number}", 60.0)) is not None:
            claims.append(claimed)

    together(4, claim_all)
    # A runner that found every row locked by the others went away; the others took what was left.
    assert sorted(claimed.id for claimed in claims) == made
    assert {claimed.fence for claimed in claims} == {1}


def test_a_tenants_limit_holds_among_many_runners(postgresql: Catalog, request_: RunRequest) -> None:
    for _ in range(8):
        postgresql.runs.create("local", request_)
    claims: list[ClaimedRun | None] = []
    together(6, lambda number: claims.append(postgresql.runs.claim(f"runner {number}", 60.0, most_per_tenant=3)))
    assert len([claim for claim in claims if claim is not None]) == 3


def test_a_claim_skips_a_row_that_is_being_claimed(postgresql: Catalog, request_: RunRequest) -> None:
    first, second = (postgresql.runs.create("local", request_) for _ in range(2))
    with postgresql.database.write() as connection:
        connection.execute(sa.select(runs).where(runs.c.id == first.id).with_for_update())
        claimed = postgresql.runs.claim("me", 60.0)
        assert claimed is not None and claimed.id == second.id


def test_a_zombie_cannot_commit(postgresql: Catalog, request_: RunRequest) -> None:
    zombie = postgresql.runs.create_claimed("local", request_, "zombie", 60.0)
    (lost,) = postgresql.runs.reap(3, is_dead=lambda owner: owner == "zombie")
    assert lost.state == S.QUEUED
    for heir in (False, True):
        if heir:
            assert postgresql.runs.claim("heir", 60.0) is not None
        with pytest.raises(LeaseLostError):
            postgresql.outputs.commit(zombie, "score", 0, {})
        with pytest.raises(LeaseLostError):
            postgresql.runs.heartbeat(zombie, 60.0)


def test_a_commit_and_a_reap_at_once_have_one_winner(postgresql: Catalog, request_: RunRequest) -> None:
    for unit in range(10):
        claimed = postgresql.runs.create_claimed("local", request_, "me", 60.0)
        outcome: list[str] = []

        def act(number: int, claimed: ClaimedRun = claimed, unit: int = unit, outcome: list[str] = outcome) -> None:
            if number == 0:
                postgresql.runs.reap(3, is_dead=lambda owner: True)
                return
            try:
                postgresql.outputs.commit(claimed, "score", unit, {})
                outcome.append("committed")
            except LeaseLostError:
                outcome.append("refused")

        together(2, act)
        stored = postgresql.outputs.of_step(claimed.id, "score")
        assert (outcome == ["committed"]) == (stored == {unit: {}})
        postgresql.runs.request_stop("local", claimed.id, "cancel")


def test_a_reader_of_the_outbox_misses_nothing(postgresql: Catalog) -> None:
    """A transaction that took its number first but commits last would be jumped over without the lock on the order."""
    written = threading.Event()

    def second_writer() -> None:
        with postgresql.database.write() as connection:
            emit(connection, "local", "test", "second", {})
        written.set()

    with postgresql.database.write() as connection:
        emit(connection, "local", "test", "first", {})
        thread = threading.Thread(target=second_writer)
        thread.start()
        assert not written.wait(0.3)
        assert postgresql.events.after("local", 0) == []
    thread.join()
    assert [event.subject for event in postgresql.events.after("local", 0)] == ["first", "second"]


def test_the_order_is_held_by_one(postgresql: Catalog) -> None:
    with postgresql.database.write() as connection:
        hold_event_order(connection)
        locks = connection.execute(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar()
    assert locks == 1


def test_orders_and_heartbeats_at_once_do_not_deadlock(postgresql: Catalog, request_: RunRequest) -> None:
    claims = [postgresql.runs.create_claimed("local", request_, "me", 60.0) for _ in range(4)]

    def act(number: int) -> None:
        for turn in range(10):
            for claimed in claims if number % 2 else reversed(claims):
                if turn == 9 and number == 0:
                    postgresql.runs.request_stop("local", claimed.id, "pause")
                postgresql.runs.heartbeat(claimed, 60.0, Progress(rows_done=turn))
                postgresql.outputs.commit(claimed, "score", turn, {})

    together(4, act)
    assert postgresql.runs.counts()[S.PAUSING] == 4
    sequences = [event.sequence for event in postgresql.events.after("local", 0, limit=1000)]
    assert sequences == sorted(set(sequences))


def test_feedback_of_one_job_from_two_servers_counts_once(postgresql: Catalog) -> None:
    job = postgresql.jobs.create("local", "external", plan=None, spec={}).id
    ids = [number.to_bytes(16, "big") for number in range(500)]
    accepted: list[int] = []

    def act(number: int) -> None:
        epochs = np.zeros(len(ids), np.int64)
        digest = f"batch {number}"
        receipt = postgresql.feedback.accept("local", job, digest=digest, path="p", sample_ids=ids, epochs=epochs)
        accepted.append(receipt.accepted)

    together(4, act)
    assert sorted(accepted) == [0, 0, 0, 500]


def test_an_idempotency_key_starts_once(postgresql: Catalog) -> None:
    outcomes: list[str] = []

    def act(number: int) -> None:
        try:
            outcomes.append(type(postgresql.idempotency.begin("local", "k", "d", prefix="run")).__name__)
        except ConflictError as error:
            outcomes.append(error.code)

    together(4, act)
    assert sorted(outcomes) == ["Started"] + ["idempotency_in_flight"] * 3


def test_a_reserved_id_makes_one(postgresql: Catalog, request_: RunRequest) -> None:
    made: list[object] = []
    together(3, lambda number: made.append(postgresql.runs.create("local", request_, run_id="run_1")))
    assert made[0] == made[1] == made[2]
    assert len(postgresql.runs.history("local", "run_1")) == 1
    for _ in range(2):
        postgresql.jobs.create("local", "managed", plan=None, spec={}, job_id="trn_1")
        postgresql.uploads.create("local", "a", 5, "ab", part_bytes=5, upload_id="upl_1")
        postgresql.datasets.create("local", "a", "text", {}, ["x"], dataset_id="ds_1")
    assert len(postgresql.events.after("local", 0, subject="trn_1")) == 1
    assert len(postgresql.datasets.versions("local", "ds_1").items) == 1


def test_the_other_nouns(postgresql: Catalog) -> None:
    secrets: list[str | None] = []
    together(3, lambda number: secrets.append(postgresql.keys.bootstrap()))
    (secret,) = [secret for secret in secrets if secret is not None]
    assert postgresql.keys.authenticate(secret) is not None
    upload = postgresql.uploads.create("local", "a", 5, "ab", part_bytes=5)
    postgresql.uploads.record_part("local", upload.id, 0, 5, "cd")
    assert postgresql.uploads.complete("local", upload.id, "ab").version == 3
    dataset, _ = postgresql.datasets.create("local", "a", "text", {"text": "t"}, [upload.id])
    assert postgresql.datasets.add_version("local", dataset.id, ["x"]).number == 2
    shard = ShardPlace(digest="d", path="p", bytes=1)
    for name in ("man_1", "man_2"):
        postgresql.manifests.record("local", name, path=name, shards=[shard], parent=None)
    page = postgresql.manifests.page("local", limit=1)
    rest = postgresql.manifests.page("local", limit=1, cursor=page.next_cursor)
    assert [row.id for row in page.items + rest.items] == ["man_2", "man_1"] and rest.next_cursor is None
    assert postgresql.aliases.set("local", "prod", "man_1", by="me").version == 1
    postgresql.jobs.create("local", "managed", plan=None, spec={})
    jobs: list[object] = []
    together(3, lambda number: jobs.append(postgresql.jobs.claim(f"runner {number}", 60.0)))
    assert len([job for job in jobs if job is not None]) == 1
    postgresql.manifests.record("local", "man_1", path="man_1", shards=[])
    plan = postgresql.plans.create("local", "man_1", {"seed": 0})
    assert postgresql.plans.decide("local", plan.id, 0, {"easy": 1.0}, None).ratios == {"easy": 1.0}

"""Runs: asking, ordering, claiming, losing; each rule by itself (their interplay: test_run_machine.py)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, ClaimedRun, RunFault
from curator.catalog.schema import runs
from curator.digest import canonical_json, sha256_hex
from curator.errors import ConflictError, LeaseLostError, NotFoundError, RequestError
from curator.run import Progress, RunRequest, RunState, RunSummary

S = RunState
BROKEN = RunFault(code="run_failed", message="the disk went away", resumable=True)
WRONG = RunFault(code="bad_recipe", message="no column 'text'", resumable=False)


@pytest.fixture
def claimed(catalog: Catalog, request_: RunRequest) -> ClaimedRun:
    return catalog.runs.create_claimed("local", request_, "me", 60.0)


def states(catalog: Catalog, run_id: str) -> list[str]:
    return [step.to_state.value for step in catalog.runs.history("local", run_id)]


def test_a_new_run(catalog: Catalog, request_: RunRequest) -> None:
    run = catalog.runs.create("local", request_)
    assert run == catalog.runs.get("local", run.id)
    assert (run.state, run.attempt, run.fence, run.version) == (S.QUEUED, 1, 0, 1)
    assert run.request == request_
    assert run.recipe_digest == sha256_hex(canonical_json(request_.recipe))
    assert states(catalog, run.id) == ["queued"]
    assert catalog.runs.counts("local")[S.QUEUED] == 1
    assert catalog.runs.counts()[S.SUCCEEDED] == 0


def test_creating_under_a_reserved_id_twice_makes_one_run(catalog: Catalog, request_: RunRequest) -> None:
    first = catalog.runs.create("local", request_, run_id="run_reserved")
    assert catalog.runs.create("local", request_, run_id="run_reserved") == first
    assert states(catalog, first.id) == ["queued"]


def test_another_tenants_run_does_not_exist(catalog: Catalog, request_: RunRequest) -> None:
    other = catalog.keys.tenant("other").id
    run = catalog.runs.create("local", request_)
    for act in (
        lambda: catalog.runs.get(other, run.id),
        lambda: catalog.runs.history(other, run.id),
        lambda: catalog.runs.request_stop(other, run.id, "cancel"),
        lambda: catalog.runs.resume(other, run.id),
        lambda: catalog.runs.retry(other, run.id),
        lambda: catalog.runs.claim_this(other, run.id, "me", 1.0),
        lambda: catalog.runs.claim_this(other, "last", "me", 1.0),
        lambda: catalog.runs.create(other, RunRequest(inputs=("x",), recipe={}), run_id=run.id),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.runs.page(other).items == ()
    assert catalog.runs.counts(other)[S.QUEUED] == 0
    assert catalog.events.after(other, 0) == []
    assert catalog.runs.get("local", run.id) == run


def test_pages_walk_all_runs_newest_first(catalog: Catalog, request_: RunRequest) -> None:
    made = [catalog.runs.create("local", request_).id for _ in range(5)]
    walked, cursor = [], None
    while True:
        page = catalog.runs.page("local", cursor=cursor, limit=2)
        walked += [run.id for run in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        catalog.runs.create("local", request_)  # a new run does not shift the pages
    assert walked == made[::-1]
    catalog.runs.request_stop("local", made[2], "cancel")
    assert [run.id for run in catalog.runs.page("local", states={S.CANCELLED}).items] == [made[2]]


def test_claims_go_by_priority_then_age_and_end(catalog: Catalog, request_: RunRequest) -> None:
    old, young = catalog.runs.create("local", request_), catalog.runs.create("local", request_)
    urgent = catalog.runs.create("local", request_, priority=1)
    got = [catalog.runs.claim("me", 60.0) for _ in range(4)]
    assert [run.id if run else None for run in got] == [urgent.id, old.id, young.id, None]
    row = catalog.runs.get("local", old.id)
    assert (row.state, row.fence, row.lease_owner, row.version) == (S.VALIDATING, 1, "me", 2)
    assert row.lease_until is not None and row.heartbeat_at is not None
    assert 55 < (row.lease_until - row.heartbeat_at).total_seconds() < 65


def test_a_tenant_at_its_limit_waits_and_others_do_not(catalog: Catalog, request_: RunRequest) -> None:
    other = catalog.keys.tenant("other").id
    for _ in range(3):
        catalog.runs.create("local", request_, priority=9)
    theirs = catalog.runs.create(other, request_)
    claims = [catalog.runs.claim("me", 60.0, most_per_tenant=2) for _ in range(4)]
    assert [claim.tenant if claim else None for claim in claims] == ["local", "local", other, None]
    assert claims[2] is not None and claims[2].id == theirs.id
    assert claims[0] is not None
    catalog.runs.request_stop("local", claims[0].id, "pause")
    assert catalog.runs.claim("me", 60.0, most_per_tenant=2) is None  # it is still being worked on
    catalog.runs.release(claims[0], "paused")
    following = catalog.runs.claim("me", 60.0, most_per_tenant=2)
    assert following is not None and following.tenant == "local"


def test_versions_tell_of_any_tenant(catalog: Catalog, request_: RunRequest) -> None:
    run = catalog.runs.create("local", request_)
    assert catalog.runs.versions({run.id, "run_nobody"}) == {run.id: ("local", 1)}
    assert catalog.runs.versions(set()) == {}
    catalog.runs.request_stop("local", run.id, "cancel")
    assert catalog.runs.versions([run.id]) == {run.id: ("local", 2)}


def test_a_run_whose_request_cannot_be_read_does_not_stop_the_runner(catalog: Catalog, request_: RunRequest) -> None:
    bad, good = catalog.runs.create("local", request_), catalog.runs.create("local", request_)
    with catalog.database.write() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == bad.id).values(request={"inputs": ["x"], "recipes": {}}))
    claimed = catalog.runs.claim("me", 60.0)
    assert claimed is not None and claimed.id == good.id
    assert states(catalog, bad.id) == ["queued", "failed"]
    row = catalog.runs.get("local", bad.id)
    assert (row.state, row.request) == (S.FAILED, None)
    assert row.error is not None and not row.error.resumable
    assert len(catalog.runs.page("local").items) == 2


def test_the_whole_road(catalog: Catalog, claimed: ClaimedRun, summary: RunSummary) -> None:
    catalog.runs.move(claimed, {S.VALIDATING}, S.RUNNING)
    assert catalog.runs.heartbeat(claimed, 60.0, Progress(phase="score", rows_done=7)) == S.RUNNING
    catalog.runs.move(claimed, {S.RUNNING}, S.FINALIZING)
    run = catalog.runs.move(claimed, {S.FINALIZING}, S.SUCCEEDED, summary=summary)
    assert (run.state, run.summary, run.progress.rows_done) == (S.SUCCEEDED, summary, 7)
    assert (run.lease_owner, run.lease_until) == (None, None)
    history = catalog.runs.history("local", run.id)
    assert [step.to_state for step in history] == [S.QUEUED, S.VALIDATING, S.RUNNING, S.FINALIZING, S.SUCCEEDED]
    assert [step.owner for step in history] == [None, "me", "me", "me", "me"]
    assert [step.from_state for step in history[1:]] == [step.to_state for step in history[:-1]]


def test_an_unlawful_move_names_both_states_and_changes_nothing(catalog: Catalog, claimed: ClaimedRun) -> None:
    before = catalog.runs.get("local", claimed.id)
    with pytest.raises(ConflictError, match=r"validating.*succeeded"):
        catalog.runs.move(claimed, {S.VALIDATING}, S.SUCCEEDED)
    with pytest.raises(ConflictError, match=r"validating.*finalizing"):
        catalog.runs.move(claimed, {S.RUNNING}, S.FINALIZING)
    assert catalog.runs.get("local", claimed.id) == before


def test_cancelling_what_nobody_works_on_is_immediate(catalog: Catalog, request_: RunRequest) -> None:
    run = catalog.runs.create("local", request_)
    assert catalog.runs.request_stop("local", run.id, "cancel").state == S.CANCELLED
    again = catalog.runs.request_stop("local", run.id, "cancel")
    assert (again.state, states(catalog, run.id)) == (S.CANCELLED, ["queued", "cancelled"])
    with pytest.raises(ConflictError, match=r"cancelled.*pausing"):
        catalog.runs.request_stop("local", run.id, "pause")


def test_cancelling_and_pausing_wait_for_the_runner(catalog: Catalog, claimed: ClaimedRun) -> None:
    assert catalog.runs.request_stop("local", claimed.id, "pause").state == S.PAUSING
    assert catalog.runs.request_stop("local", claimed.id, "pause").version == 3
    assert catalog.runs.heartbeat(claimed, 60.0) == S.PAUSING
    assert catalog.runs.request_stop("local", claimed.id, "cancel").state == S.CANCELLING
    with pytest.raises(ConflictError, match=r"cancelling.*pausing"):
        catalog.runs.request_stop("local", claimed.id, "pause")
    assert catalog.runs.release(claimed, "stopped").state == S.CANCELLED


def test_a_shutdown_cannot_be_ordered(catalog: Catalog, claimed: ClaimedRun) -> None:
    with pytest.raises(RequestError, match="cancel"):
        catalog.runs.request_stop("local", claimed.id, "shutdown")


def test_an_order_for_another_version_is_refused(catalog: Catalog, request_: RunRequest) -> None:
    run = catalog.runs.create("local", request_)
    with pytest.raises(ConflictError, match="version 1"):
        catalog.runs.request_stop("local", run.id, "cancel", version=2)
    assert catalog.runs.request_stop("local", run.id, "cancel", version=1).version == 2


def test_a_paused_run_goes_on_with_the_same_attempt(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.outputs.commit(claimed, "score", 0, {"rows": 3})
    catalog.runs.request_stop("local", claimed.id, "pause")
    assert catalog.runs.release(claimed, "stopped").state == S.PAUSED
    assert catalog.runs.claim("me", 60.0) is None
    assert catalog.runs.resume("local", claimed.id).attempt == 1
    again = catalog.runs.claim("me", 60.0)
    assert again is not None and (again.id, again.attempt, again.fence) == (claimed.id, 1, 2)
    assert catalog.outputs.of_step(claimed.id, "score") == {0: {"rows": 3}}


def test_resume_keeps_and_retry_forgets_what_was_committed(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.outputs.commit(claimed, "score", 0, {"rows": 3})
    assert catalog.runs.fail(claimed, BROKEN).error == BROKEN
    resumed = catalog.runs.resume("local", claimed.id)
    assert (resumed.state, resumed.attempt, resumed.error) == (S.QUEUED, 2, None)
    assert catalog.outputs.of_step(claimed.id, "score") == {0: {"rows": 3}}
    again = catalog.runs.claim("me", 60.0)
    assert again is not None
    catalog.runs.fail(again, BROKEN)
    retried = catalog.runs.retry("local", claimed.id)
    assert (retried.state, retried.attempt, retried.progress) == (S.QUEUED, 3, Progress())
    assert catalog.outputs.of_step(claimed.id, "score") == {}


def test_a_wrong_request_is_not_resumed_but_may_be_retried(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.runs.fail(claimed, WRONG)
    with pytest.raises(ConflictError, match="no column 'text'"):
        catalog.runs.resume("local", claimed.id)
    assert catalog.runs.retry("local", claimed.id).state == S.QUEUED


@pytest.mark.parametrize("order", ["resume", "retry"])
def test_orders_out_of_season(catalog: Catalog, claimed: ClaimedRun, order: str) -> None:
    with pytest.raises(ConflictError, match="validating"):
        getattr(catalog.runs, order)("local", claimed.id)
    catalog.runs.request_stop("local", claimed.id, "cancel")
    catalog.runs.release(claimed, "stopped")
    with pytest.raises(ConflictError, match="cancelled"):
        getattr(catalog.runs, order)("local", claimed.id)


def test_a_failure_during_a_cancel_is_a_cancel(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.runs.request_stop("local", claimed.id, "cancel")
    run = catalog.runs.fail(claimed, BROKEN)
    assert (run.state, run.error) == (S.CANCELLED, BROKEN)


def test_a_nul_in_a_message_can_be_stored() -> None:
    assert RunFault(code="x", message="bytes \0 here", resumable=True).message == "bytes \ufffd here"


def test_release_gives_back_or_pauses(catalog: Catalog, claimed: ClaimedRun) -> None:
    run = catalog.runs.release(claimed, "shutting down")
    assert (run.state, run.attempt, run.lease_owner) == (S.QUEUED, 1, None)
    with pytest.raises(LeaseLostError):
        catalog.runs.release(claimed, "again")
    second = catalog.runs.claim("me", 60.0)
    assert second is not None
    assert catalog.runs.release(second, "Ctrl-C", pause=True).state == S.PAUSED
    assert states(catalog, claimed.id)[-2:] == ["pausing", "paused"]


def test_a_passing_fault_waits_and_counts(catalog: Catalog, claimed: ClaimedRun) -> None:
    run = catalog.runs.release(claimed, "the store timed out", again_in_s=60.0)
    assert (run.state, run.attempt) == (S.QUEUED, 2)
    assert catalog.runs.claim("me", 60.0) is None
    with catalog.database.write() as connection:
        connection.execute(sa.update(runs).values(not_before=runs.c.created_at))
    again = catalog.runs.claim("me", 60.0)
    assert again is not None and again.attempt == 2


def test_a_lease_that_holds_is_not_reaped(catalog: Catalog, claimed: ClaimedRun) -> None:
    assert catalog.runs.reap(3) == []
    assert catalog.runs.reap(3, is_dead=lambda owner: owner != "me") == []


def test_a_lost_run_is_queued_again_until_its_attempts_are_used_up(
    catalog: Catalog, claimed: ClaimedRun, time_machine: object
) -> None:
    run: ClaimedRun | None = claimed
    for attempt in (2, 3):
        assert run is not None
        time_machine.expire(run)  # type: ignore[attr-defined]
        (lost,) = catalog.runs.reap(3)
        assert (lost.state, lost.attempt, lost.lease_owner) == (S.QUEUED, attempt, None)
        run = catalog.runs.claim("me", 60.0)
    assert run is not None
    time_machine.expire(run)  # type: ignore[attr-defined]
    (lost,) = catalog.runs.reap(3)
    assert lost.state == S.FAILED
    assert lost.error is not None and lost.error.code == "lease_lost" and lost.error.resumable
    assert states(catalog, lost.id)[-2:] == ["lost", "failed"]
    assert catalog.runs.resume("local", lost.id).attempt == 4


def test_a_dead_owners_lease_is_not_waited_for(catalog: Catalog, claimed: ClaimedRun) -> None:
    (lost,) = catalog.runs.reap(3, is_dead=lambda owner: owner == "me")
    assert (lost.state, lost.attempt) == (S.QUEUED, 2)


@pytest.mark.parametrize(("stop", "end"), [("cancel", S.CANCELLED), ("pause", S.PAUSED)])
def test_a_stop_is_honoured_though_the_runner_died(
    catalog: Catalog, claimed: ClaimedRun, time_machine: object, stop: str, end: RunState
) -> None:
    catalog.runs.request_stop("local", claimed.id, stop)  # type: ignore[arg-type]
    time_machine.expire(claimed)  # type: ignore[attr-defined]
    (run,) = catalog.runs.reap(3)
    assert run.state == end


def test_a_late_heartbeat_keeps_a_run_nobody_took(catalog: Catalog, claimed: ClaimedRun, time_machine: object) -> None:
    time_machine.expire(claimed)  # type: ignore[attr-defined]
    assert catalog.runs.heartbeat(claimed, 60.0) == S.VALIDATING
    assert catalog.runs.reap(3) == []


def test_what_is_done_to_one_run_leaves_the_others_alone(catalog: Catalog, request_: RunRequest) -> None:
    one, other = (catalog.runs.create_claimed("local", request_, "me", 60.0) for _ in range(2))
    before = catalog.runs.get("local", other.id)
    catalog.runs.heartbeat(one, 600.0, Progress(rows_done=9))
    catalog.outputs.commit(one, "score", 0, {})
    catalog.runs.request_stop("local", one.id, "pause")
    catalog.runs.fail(one, BROKEN)
    catalog.runs.retry("local", one.id)
    assert catalog.runs.get("local", other.id) == before


def test_a_zombie_can_do_nothing(
    catalog: Catalog, claimed: ClaimedRun, time_machine: object, summary: RunSummary
) -> None:
    time_machine.expire(claimed)  # type: ignore[attr-defined]
    catalog.runs.reap(3)
    for owner in (None, "other"):  # before and after somebody else took the run
        if owner is not None:
            catalog.runs.claim(owner, 60.0)
        before = catalog.runs.get("local", claimed.id)
        for act in (
            lambda: catalog.runs.heartbeat(claimed, 60.0, Progress(rows_done=9)),
            lambda: catalog.runs.state(claimed),
            lambda: catalog.runs.move(claimed, {S.VALIDATING}, S.RUNNING),
            lambda: catalog.runs.fail(claimed, BROKEN),
            lambda: catalog.runs.release(claimed, "late"),
            lambda: catalog.outputs.commit(claimed, "score", 0, {}),
        ):
            with pytest.raises(LeaseLostError, match="fence"):
                act()
        assert catalog.runs.get("local", claimed.id) == before
        assert catalog.outputs.of_step(claimed.id, "score") == {}


def test_a_run_made_here_is_not_left_for_others(catalog: Catalog, claimed: ClaimedRun) -> None:
    assert catalog.runs.claim("other", 60.0) is None
    assert states(catalog, claimed.id) == ["queued", "validating"]


def test_resuming_here_whatever_can_be_resumed(catalog: Catalog, request_: RunRequest, time_machine: object) -> None:
    with pytest.raises(NotFoundError, match="no run to resume"):
        catalog.runs.claim_this("local", "last", "me", 60.0)
    claimed = catalog.runs.create_claimed("local", request_, "first", 60.0)
    with pytest.raises(ConflictError, match="under first until"):
        catalog.runs.claim_this("local", "last", "me", 60.0)
    time_machine.expire(claimed)  # type: ignore[attr-defined]
    lost = catalog.runs.claim_this("local", "last", "me", 60.0)
    assert (lost.id, lost.attempt, lost.fence) == (claimed.id, 2, 3)
    dead = catalog.runs.claim_this("local", claimed.id, "me2", 60.0, is_dead=lambda owner: owner == "me")
    assert dead.attempt == 3
    catalog.runs.fail(dead, BROKEN)
    failed = catalog.runs.claim_this("local", "last", "me", 60.0)
    assert failed.attempt == 4
    catalog.runs.release(failed, "Ctrl-C", pause=True)
    paused = catalog.runs.claim_this("local", "last", "me", 60.0)
    assert paused.attempt == 4
    catalog.runs.release(paused, "shutdown")
    queued = catalog.runs.claim_this("local", "last", "me", 60.0)
    assert queued.attempt == 4
    catalog.runs.fail(queued, WRONG)
    with pytest.raises(ConflictError, match="cannot mend"):
        catalog.runs.claim_this("local", "last", "me", 60.0)


def test_what_is_finished_is_not_resumed_here(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.runs.request_stop("local", claimed.id, "cancel")
    with pytest.raises(ConflictError, match="cancelled and cannot be resumed"):
        catalog.runs.claim_this("local", claimed.id, "me2", 60.0, is_dead=lambda owner: True)
    assert catalog.runs.get("local", claimed.id).state == S.CANCELLING  # the refusal changed nothing

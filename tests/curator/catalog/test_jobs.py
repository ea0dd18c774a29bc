"""Training jobs move lawfully and only under their tenant."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, JobState, TrainingJob
from curator.catalog.schema import training_jobs
from curator.errors import ConflictError, LeaseLostError, NotFoundError

J = JobState


def test_a_managed_job(catalog: Catalog) -> None:
    job = catalog.jobs.create("local", "managed", plan="epl_1", spec={"entry": "text"})
    assert (job.state, job.version) == (J.QUEUED, 1)
    catalog.jobs.move("local", job.id, J.RUNNING, version=1)
    done = catalog.jobs.move("local", job.id, J.SUCCEEDED, result={"accuracy": 0.9})
    assert (done.state, done.result, done.version) == (J.SUCCEEDED, {"accuracy": 0.9}, 3)
    with pytest.raises(ConflictError, match=r"succeeded.*cancelled"):
        catalog.jobs.move("local", job.id, J.CANCELLED)
    told = [event.data["to_state"] for event in catalog.events.after("local", 0, subject=job.id)]
    assert told == ["queued", "running", "succeeded"]


def test_an_external_job_runs_from_its_birth(catalog: Catalog) -> None:
    job = catalog.jobs.create("local", "external", plan=None, spec={})
    assert job.state == J.RUNNING
    assert catalog.jobs.move("local", job.id, J.FAILED, error={"message": "nan"}).error == {"message": "nan"}


def test_refused_moves(catalog: Catalog) -> None:
    job = catalog.jobs.create("local", "managed", plan=None, spec={})
    with pytest.raises(ConflictError, match=r"queued.*succeeded"):
        catalog.jobs.move("local", job.id, J.SUCCEEDED)
    with pytest.raises(ConflictError, match=r"queued.*cancelled"):
        catalog.jobs.move("local", job.id, J.CANCELLED, from_states={J.RUNNING})
    with pytest.raises(ConflictError, match="version 1"):
        catalog.jobs.move("local", job.id, J.CANCELLED, version=7)
    assert catalog.jobs.get("local", job.id) == job


def test_a_reserved_id_makes_one_job(catalog: Catalog) -> None:
    first = catalog.jobs.create("local", "managed", plan=None, spec={}, job_id="trn_1")
    assert catalog.jobs.create("local", "managed", plan=None, spec={}, job_id="trn_1") == first
    assert len(catalog.events.after("local", 0, subject="trn_1")) == 1


def test_another_tenants_job_does_not_exist(catalog: Catalog) -> None:
    other, job = catalog.keys.tenant("other").id, catalog.jobs.create("local", "managed", plan=None, spec={})
    with pytest.raises(NotFoundError):
        catalog.jobs.get(other, job.id)
    with pytest.raises(NotFoundError):
        catalog.jobs.move(other, job.id, J.CANCELLED)
    assert catalog.jobs.page(other).items == ()
    assert catalog.jobs.page("local").items == (job,)


def managed(catalog: Catalog) -> TrainingJob:
    return catalog.jobs.create("local", "managed", plan=None, spec={"entry": "text-classifier"})


def expire(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(sa.update(training_jobs).values(lease_until=training_jobs.c.created_at - 1.0))


def test_a_managed_job_is_leased_to_one(catalog: Catalog) -> None:
    first, second = managed(catalog), managed(catalog)
    catalog.jobs.create("local", "external", plan=None, spec={})
    claims = [catalog.jobs.claim("me", 60.0) for _ in range(3)]
    assert [claim.id if claim else None for claim in claims] == [first.id, second.id, None]
    claim = claims[0]
    assert claim is not None and (claim.spec, claim.attempt, claim.fence) == (first.spec, 1, 1)
    catalog.jobs.heartbeat(claim, 60.0)
    assert catalog.jobs.get("local", first.id).version == 2
    catalog.jobs.heartbeat(claim, 60.0, {"step": 7})
    told = catalog.jobs.get("local", first.id)
    assert (told.version, told.progress) == (3, {"step": 7})
    assert catalog.jobs.get("local", second.id).progress is None
    catalog.jobs.move("local", first.id, J.SUCCEEDED)
    with pytest.raises(LeaseLostError, match="succeeded"):
        catalog.jobs.release(claim)


def test_a_cancelled_job_is_no_longer_its_runners(catalog: Catalog) -> None:
    job = managed(catalog)
    claim = catalog.jobs.claim("me", 60.0)
    assert claim is not None
    catalog.jobs.move("local", job.id, J.CANCELLED)
    for act in (lambda: catalog.jobs.heartbeat(claim, 60.0), lambda: catalog.jobs.release(claim)):
        with pytest.raises(LeaseLostError, match="cancelled"):
            act()
    assert catalog.jobs.get("local", job.id).state == J.CANCELLED


def test_a_lost_job_goes_to_another_runner_until_its_attempts_are_used_up(catalog: Catalog) -> None:
    job = managed(catalog)
    first = catalog.jobs.claim("one", 60.0)
    assert first is not None and catalog.jobs.claim("two", 60.0) is None
    assert catalog.jobs.reap(2) == []
    expire(catalog)
    assert [(lost.id, lost.state, lost.attempt) for lost in catalog.jobs.reap(2)] == [(job.id, J.QUEUED, 2)]
    with pytest.raises(LeaseLostError, match="fence 2"):  # at once, not only when another has taken it
        catalog.jobs.heartbeat(first, 60.0)
    second = catalog.jobs.claim("two", 60.0)
    assert second is not None and (second.attempt, second.fence) == (2, 3)
    with pytest.raises(LeaseLostError, match="fence 3"):
        catalog.jobs.release(first)
    expire(catalog)
    assert [lost.state for lost in catalog.jobs.reap(2)] == [J.FAILED]
    assert catalog.jobs.claim("three", 60.0) is None
    failed = catalog.jobs.get("local", job.id)
    assert failed.state == J.FAILED and failed.error is not None and failed.error["code"] == "lease_lost"


def test_a_dead_owners_job_is_taken_at_once_and_a_living_ones_is_not(catalog: Catalog) -> None:
    first, second = managed(catalog), managed(catalog)
    for owner in ("dead", "alive"):
        assert catalog.jobs.claim(owner, 3600.0) is not None
    assert [lost.id for lost in catalog.jobs.reap(3, is_dead=lambda owner: owner == "dead")] == [first.id]
    assert catalog.jobs.get("local", second.id).state == J.RUNNING
    catalog.jobs.create("local", "external", plan=None, spec={})  # running from its birth, and nobody's to take
    assert catalog.jobs.reap(3, is_dead=lambda owner: False) == []


def test_a_job_that_passed_through_the_queue_is_still_its_owners_to_lose(catalog: Catalog) -> None:
    job = managed(catalog)
    claim = catalog.jobs.claim("me", 60.0)
    assert claim is not None
    catalog.jobs.move("local", job.id, J.QUEUED)
    catalog.jobs.move("local", job.id, J.RUNNING)
    catalog.jobs.heartbeat(claim, 60.0)
    expire(catalog)
    assert [lost.id for lost in catalog.jobs.reap(3)] == [job.id]


def test_a_heartbeat_outlives_a_passage_through_the_queue(catalog: Catalog) -> None:
    job = managed(catalog)
    claim = catalog.jobs.claim("me", 60.0)
    assert claim is not None
    catalog.jobs.move("local", job.id, J.QUEUED)
    catalog.jobs.heartbeat(claim, 60.0)
    catalog.jobs.move("local", job.id, J.RUNNING)
    catalog.jobs.heartbeat(claim, 60.0)
    catalog.jobs.move("local", job.id, J.QUEUED)
    assert catalog.jobs.claim("other", 60.0) is not None
    with pytest.raises(LeaseLostError):
        catalog.jobs.heartbeat(claim, 60.0)


def test_a_job_given_back_keeps_its_attempt(catalog: Catalog) -> None:
    managed(catalog)
    first = catalog.jobs.claim("one", 60.0)
    assert first is not None
    catalog.jobs.release(first)
    again = catalog.jobs.claim("two", 60.0)
    assert again is not None and (again.attempt, again.fence) == (1, 2)
    told = [event.data["to_state"] for event in catalog.events.after("local", 0, subject=first.id)]
    assert told == ["queued", "running", "queued", "running"]

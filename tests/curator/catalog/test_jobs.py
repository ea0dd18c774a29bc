"""Training jobs move lawfully and only under their tenant."""

from __future__ import annotations

import pytest

from curator.catalog import Catalog, JobState
from curator.errors import ConflictError, NotFoundError

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

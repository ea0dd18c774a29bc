"""Idempotency keys: once, the same answer, and no confusion of requests."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, Replay, Started
from curator.catalog.schema import idempotency_keys
from curator.errors import ConflictError
from curator.run import RunRequest


def begin(catalog: Catalog, key: str = "k", digest: str = "d", tenant: str = "local") -> Started | Replay:
    return catalog.idempotency.begin(tenant, key, digest, prefix="run")


def test_the_second_request_gets_the_first_answer(catalog: Catalog) -> None:
    started = begin(catalog)
    assert isinstance(started, Started) and started.resource.startswith("run_")
    catalog.idempotency.finish("local", "k", 202, {"id": started.resource})
    replay = Replay(resource=started.resource, status=202, response={"id": started.resource})
    assert begin(catalog) == replay
    catalog.idempotency.finish("local", "k", 500, {})
    assert begin(catalog) == replay
    catalog.idempotency.abandon("local", "k")
    assert begin(catalog) == replay


def test_another_request_under_the_key_is_refused(catalog: Catalog) -> None:
    begin(catalog)
    with pytest.raises(ConflictError) as caught:
        begin(catalog, digest="other")
    assert caught.value.code == "idempotency_mismatch"
    assert ConflictError("x").code == "conflict"


def test_a_request_in_flight_is_not_begun_again(catalog: Catalog) -> None:
    begin(catalog)
    with pytest.raises(ConflictError) as caught:
        begin(catalog)
    assert caught.value.code == "idempotency_in_flight"


def test_tenants_and_keys_are_apart(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    resources = {begin(catalog).resource, begin(catalog, "k2").resource, begin(catalog, tenant=other).resource}
    assert len(resources) == 3


def test_a_refused_request_frees_its_key(catalog: Catalog) -> None:
    first = begin(catalog)
    catalog.idempotency.abandon("local", "k")
    again = begin(catalog, digest="corrected")
    assert isinstance(again, Started) and again != first


def test_a_server_that_died_between_making_and_answering_makes_nothing_twice(
    catalog: Catalog, request_: RunRequest
) -> None:
    started = begin(catalog)
    run = catalog.runs.create("local", request_, run_id=started.resource)
    with catalog.database.write() as connection:
        connection.execute(sa.update(idempotency_keys).values(started_at=idempotency_keys.c.started_at - 61.0))
    again = begin(catalog)
    assert again == started
    assert catalog.runs.create("local", request_, run_id=again.resource) == run
    assert len(catalog.runs.page("local").items) == 1
    with pytest.raises(ConflictError):  # the clock of the second try runs from its own start
        begin(catalog)


def test_answers_are_kept_a_day(catalog: Catalog) -> None:
    first = begin(catalog)
    catalog.idempotency.finish("local", "k", 202, {})
    assert catalog.idempotency.prune() == 0
    with catalog.database.write() as connection:
        day = 24 * 3600.0 + 1.0
        connection.execute(sa.update(idempotency_keys).values(finished_at=idempotency_keys.c.finished_at - day))
    again = begin(catalog, digest="new")
    assert isinstance(again, Started) and again != first
    with catalog.database.write() as connection:
        connection.execute(sa.update(idempotency_keys).values(started_at=0.0))
    assert catalog.idempotency.prune() == 1


def test_of_many_at_once_one_starts(catalog: Catalog) -> None:
    outcomes: list[str] = []

    def race() -> None:
        try:
            outcomes.append(type(begin(catalog)).__name__)
        except ConflictError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["Started"] + ["idempotency_in_flight"] * 5

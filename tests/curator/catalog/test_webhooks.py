"""Webhooks: every event owed once, tried again later and later, given up in the end."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from curator.catalog import LOCAL_TENANT, Catalog, DeliveryState
from curator.catalog.schema_watch import webhook_deliveries
from curator.catalog.webhooks import MAX_ATTEMPTS, MOST_OF_A_TENANT, Webhooks
from curator.errors import NotFoundError, RequestError
from curator.run import RunRequest
from curator.sealing import Seal

URL = "https://hooks.example.com/winnow"


def ripen(catalog: Catalog) -> None:
    """Every delivery's time has come."""
    with catalog.database.write() as connection:
        connection.execute(sa.update(webhook_deliveries).values(next_at=webhook_deliveries.c.created_at - 1.0))


def test_every_event_is_owed_once(catalog: Catalog, request_: RunRequest) -> None:
    catalog.runs.create(LOCAL_TENANT, request_)
    made, secret = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    assert secret.startswith("whsec_")
    assert catalog.webhooks.owe() == 0, "what happened before is not told"
    run = catalog.runs.create(LOCAL_TENANT, request_)
    assert catalog.webhooks.owe() == 1
    assert catalog.webhooks.owe() == 0
    [due] = catalog.webhooks.due()
    assert (due.url, due.secret, due.attempts) == (URL, secret, 1)
    assert due.body["type"] == "run.state" and due.body["data"]["subject"] == run.id
    assert catalog.webhooks.due() == [], "held by the one who took it"
    assert catalog.webhooks.settle(due, status=200, error=None) is DeliveryState.DELIVERED
    ripen(catalog)
    assert catalog.webhooks.due() == []
    [told] = catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items
    assert (told.state, told.status, told.attempts) == ("delivered", 200, 1)


def test_two_runners_owe_and_take_each_delivery_once(postgresql: Catalog, request_: RunRequest) -> None:
    made, _ = postgresql.webhooks.create(LOCAL_TENANT, URL, [])
    for _ in range(30):
        postgresql.runs.create(LOCAL_TENANT, request_)
    taken: list[str] = []

    def work() -> None:
        postgresql.webhooks.owe()
        while due := postgresql.webhooks.due(limit=3):
            taken.extend(delivery.id for delivery in due)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 30
    assert len(postgresql.webhooks.deliveries(LOCAL_TENANT, made.id, limit=100).items) == 30


def test_a_refused_delivery_comes_again_and_is_given_up_in_the_end(catalog: Catalog, request_: RunRequest) -> None:
    made, _ = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    catalog.runs.create(LOCAL_TENANT, request_)
    catalog.webhooks.owe()
    states = []
    for _ in range(MAX_ATTEMPTS):
        ripen(catalog)
        [due] = catalog.webhooks.due()
        states.append(catalog.webhooks.settle(due, status=503, error="HTTP 503"))
        assert catalog.webhooks.due() == [], "not at once"
    assert states == [DeliveryState.OWED] * (MAX_ATTEMPTS - 1) + [DeliveryState.GIVEN_UP]
    ripen(catalog)
    assert catalog.webhooks.due() == []
    assert catalog.webhooks.counts()[DeliveryState.GIVEN_UP] == 1
    assert catalog.webhooks.prune(3600) == 0
    assert catalog.webhooks.prune(-1) == 1
    assert catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items == ()


def test_one_that_died_holding_a_delivery_loses_nothing(catalog: Catalog, request_: RunRequest) -> None:
    catalog.webhooks.create(LOCAL_TENANT, URL, [])
    catalog.runs.create(LOCAL_TENANT, request_)
    catalog.webhooks.owe()
    [first] = catalog.webhooks.due()
    ripen(catalog)  # its minute is over and nobody has said how it went
    [again] = catalog.webhooks.due()
    assert (again.id, again.attempts) == (first.id, 2)


def test_kinds_are_chosen_and_progress_is_not_told_unasked(catalog: Catalog, request_: RunRequest) -> None:
    catalog.webhooks.create(LOCAL_TENANT, URL, ["export.state"])
    everything, _ = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    run = catalog.runs.create(LOCAL_TENANT, request_)
    claimed = catalog.runs.claim("host/x/1/1/1", 30.0)
    assert claimed is not None and claimed.id == run.id
    catalog.webhooks.owe()
    told = catalog.webhooks.due()
    assert {delivery.body["type"] for delivery in told} == {"run.state"}
    assert len(told) == len(catalog.webhooks.deliveries(LOCAL_TENANT, everything.id).items)


def test_another_tenants_webhook_is_not_there(catalog: Catalog) -> None:
    made, _ = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    other = catalog.keys.tenant("other").id
    for ask in (catalog.webhooks.get, catalog.webhooks.delete, catalog.webhooks.deliveries):
        with pytest.raises(NotFoundError):
            ask(other, made.id)
    assert catalog.webhooks.of_tenant(other) == []
    catalog.webhooks.delete(LOCAL_TENANT, made.id)
    assert catalog.webhooks.of_tenant(LOCAL_TENANT) == []


def test_a_tenant_has_so_many_and_no_more(catalog: Catalog) -> None:
    for _ in range(MOST_OF_A_TENANT):
        catalog.webhooks.create(LOCAL_TENANT, URL, [])
    with pytest.raises(RequestError, match="at most"):
        catalog.webhooks.create(LOCAL_TENANT, URL, [])


def test_a_webhook_made_again_under_its_id_is_the_same(catalog: Catalog) -> None:
    first, again = (catalog.webhooks.create(LOCAL_TENANT, URL, [], webhook_id="whk_1") for _ in "12")
    assert first == again


def test_what_the_catalog_keeps_signs_nothing(catalog: Catalog) -> None:
    made, secret = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    with catalog.database.read() as connection:
        kept = connection.execute(sa.text("SELECT secret FROM webhooks")).scalar_one()
    assert secret.removeprefix("whsec_") not in kept
    assert Seal(b"k" * 32).open(made.id, kept) == secret


def test_secrets_of_an_earlier_version_are_sealed_and_stay_the_same(catalog: Catalog) -> None:
    made, secret = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    with catalog.database.write() as connection:
        connection.execute(sa.text("UPDATE webhooks SET secret = :plain"), {"plain": secret})
    for _ in range(2):
        catalog.webhooks.sealed_with(Seal(b"k" * 32))
        with catalog.database.read() as connection:
            kept = connection.execute(sa.text("SELECT secret FROM webhooks")).scalar_one()
        assert Seal.is_closed(kept) and Seal(b"k" * 32).open(made.id, kept) == secret


def test_no_secret_is_made_or_told_without_a_seal(catalog: Catalog) -> None:
    unsealed = Webhooks(catalog.database)
    with pytest.raises(RequestError, match="seal"):
        unsealed.create(LOCAL_TENANT, URL, [])
    with pytest.raises(RequestError, match="seal"):
        unsealed.due()


def test_nothing_is_signed_once_the_key_was_replaced(
    catalog: Catalog, request_: RunRequest, caplog: pytest.LogCaptureFixture
) -> None:
    made, secret = catalog.webhooks.create(LOCAL_TENANT, URL, [])
    catalog.runs.create(LOCAL_TENANT, request_)
    catalog.webhooks.owe()
    catalog.webhooks.sealed_with(Seal(b"x" * 32))
    assert f"secret of {made.id} was sealed with another key" in caplog.text
    catalog.webhooks.create(LOCAL_TENANT, URL, [])
    catalog.runs.create(LOCAL_TENANT, request_)
    catalog.webhooks.owe()
    assert len(catalog.webhooks.due()) == 1  # the other's: one lost secret holds nobody up
    failed = catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items
    assert {(row.state, row.attempts) for row in failed} == {(DeliveryState.OWED, 1)}
    assert all("server.key" in str(row.error) for row in failed)
    catalog.webhooks.sealed_with(Seal(b"k" * 32))  # put back
    ripen(catalog)
    assert secret in {delivery.secret for delivery in catalog.webhooks.due()}

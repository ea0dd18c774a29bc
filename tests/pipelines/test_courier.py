"""The courier over real sockets: signed, not redirected, tried again, and never where it may not go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import LOCAL_TENANT, Catalog, DeliveryState
from curator.catalog.schema_watch import webhook_deliveries
from curator.run import RunRequest
from curator.sealing import Seal
from curator.settings import Settings
from curator.tracing import tracing
from pipelines.courier import Courier
from tests.collector import Collector

REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets; answers with the next of `statuses`, 200 when there is none."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append((self.path, {}, b""))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as opened:
        opened.webhooks.sealed_with(Seal.of(settings(tmp_path)))
        yield opened


def settings(tmp_path: Path, *roots: str) -> Settings:
    return Settings(root=str(tmp_path), webhook_roots=roots, poll_s=0.05)


def ripen(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(sa.update(webhook_deliveries).values(next_at=webhook_deliveries.c.created_at - 1.0))


def test_a_message_arrives_signed(tmp_path: Path, catalog: Catalog, receiver: Receiver) -> None:
    made, secret = catalog.webhooks.create(LOCAL_TENANT, f"{receiver.url}hook?team=a", [])
    run = catalog.runs.create(LOCAL_TENANT, REQUEST)
    with Courier(catalog, settings(tmp_path, receiver.url)):
        deadline = time.monotonic() + 20
        while catalog.webhooks.counts()[DeliveryState.DELIVERED] < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
    [(path, headers, body)] = receiver.got
    assert path == "/hook?team=a"
    assert headers["host"] == receiver.url.split("/")[2]
    told = json.loads(body)
    assert (told["type"], told["data"]["subject"]) == ("run.state", run.id)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    assert told["id"] == headers["webhook-id"]
    assert catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items[0].status == 200


def test_a_refusal_and_a_redirect_are_tried_again_under_the_same_id(
    tmp_path: Path, catalog: Catalog, receiver: Receiver
) -> None:
    receiver.statuses = [503, 302]
    made, _ = catalog.webhooks.create(LOCAL_TENANT, f"{receiver.url}hook", [])
    catalog.runs.create(LOCAL_TENANT, REQUEST)
    courier = Courier(catalog, settings(tmp_path, receiver.url))
    for _ in range(3):
        ripen(catalog)
        assert courier.deliver_once() == 1
    assert [path for path, _, _ in receiver.got] == ["/hook"] * 3, "a redirect is not followed"
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    [told] = catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items
    assert (told.state, told.attempts, told.error) == ("delivered", 3, None)


def test_what_is_not_allowed_any_more_gets_nothing(tmp_path: Path, catalog: Catalog, receiver: Receiver) -> None:
    made, _ = catalog.webhooks.create(LOCAL_TENANT, f"{receiver.url}hook", [])
    catalog.runs.create(LOCAL_TENANT, REQUEST)
    assert Courier(catalog, settings(tmp_path, "https://hooks.example.com/")).deliver_once() == 1
    assert receiver.got == []
    [told] = catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items
    assert told.status is None and "WINNOW_WEBHOOK_ROOTS" in str(told.error)


def test_a_name_that_leads_inside_gets_nothing(
    tmp_path: Path, catalog: Catalog, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = [(2, 1, 6, "", ("127.0.0.1", receiver.server_address[1]))]
    monkeypatch.setattr("curator.outbound.address_of", _resolving(inside))
    root = f"http://hooks.example.com:{receiver.server_address[1]}/"
    made, _ = catalog.webhooks.create(LOCAL_TENANT, f"{root}hook", [])
    catalog.runs.create(LOCAL_TENANT, REQUEST)
    Courier(catalog, settings(tmp_path, root)).deliver_once()
    assert receiver.got == []
    assert "inside" in str(catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items[0].error)


def test_a_delivery_is_a_span_that_does_not_tell_where_it_goes(
    tmp_path: Path, catalog: Catalog, receiver: Receiver
) -> None:
    made, _ = catalog.webhooks.create(LOCAL_TENANT, f"{receiver.url}token-in-a-path", [])
    run = catalog.runs.create(LOCAL_TENANT, REQUEST).id
    receiver.statuses = [500]
    with Collector() as collector:
        with tracing(Settings(otlp_endpoint=collector.url), "winnow-runner"):
            Courier(catalog, settings(tmp_path, receiver.url)).deliver_once()
        [seen] = collector.all()
        assert b"token-in-a-path" not in b"".join(collector.bodies)
    [delivery] = catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items
    assert (seen.name, seen.kind, seen.failed) == ("deliver", 3, True)
    told = {"winnow.delivery": delivery.id, "winnow.attempt": 1, "winnow.subject": run}
    assert seen.attributes == {**told, "http.response.status_code": 500}


def _resolving(found: list[object]) -> object:
    from curator.outbound import address_of

    return lambda url, roots: address_of(url, roots, lambda host, port: found)


def test_a_silent_receiver_is_an_error_without_its_address(tmp_path: Path, catalog: Catalog) -> None:
    made, _ = catalog.webhooks.create(LOCAL_TENANT, "http://127.0.0.1:9/hook", [])
    catalog.runs.create(LOCAL_TENANT, REQUEST)
    Courier(catalog, settings(tmp_path, "http://127.0.0.1:9/")).deliver_once()
    assert catalog.webhooks.deliveries(LOCAL_TENANT, made.id).items[0].error == "no answer: ConnectError"

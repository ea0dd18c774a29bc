"""Datasets fetched from a web server on loopback: only from where it may, whole or not at all, and never for ever."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from api import fetching
from curator import outbound
from curator.catalog import DatasetVersion, Quota
from curator.errors import WinnowError
from tests.api.conftest import House, open_house
from tests.api.elsewhere import ROWS, Elsewhere, Handler, dripping, dripping_headers, endless, short, to


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere) -> Iterator[House]:
    """A house that may read below `elsewhere.url`."""
    yield from open_house(tmp_path_factory.mktemp("reading"), elsewhere.url + "/")  # type: ignore[arg-type]


def settled(house: House, uri: str, patience_s: float = 30) -> dict[str, Any]:
    made = house.one.post("/v1/datasets", json={"uri": uri})
    assert made.status_code == 202, made.text
    found, deadline = made.json(), time.monotonic() + patience_s
    while found["state"] == "validating":
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
        found = house.one.get(f"/v1/datasets/{found['id']}").json()
    return found


def test_it_is_fetched_once_and_runs_read_the_copy(reading: House, elsewhere: Elsewhere) -> None:
    elsewhere.files["/sets/rows.jsonl"] = ROWS
    found = settled(reading, f"{elsewhere.url}/rows.jsonl")
    assert (found["state"], found["rows"], found["name"]) == ("ready", 50, "rows.jsonl")
    origin = found["origin"]
    assert origin["url"] == f"{elsewhere.url}/rows.jsonl" and origin["sha256"] == hashlib.sha256(ROWS).hexdigest()
    assert (origin["bytes"], origin["etag"]) == (len(ROWS), f'"{hashlib.md5(ROWS).hexdigest()}"')
    asked = len(elsewhere.asked)
    elsewhere.files["/sets/rows.jsonl"] = b'{"text": "something else"}\n'
    rows = reading.one.get(f"/v1/datasets/{found['id']}/versions/1/rows").json()["items"]
    assert rows[0]["text"].startswith("number 0")
    run = reading.one.post("/v1/runs", json={"dataset": found["id"], "recipe": "text"})
    [place] = reading.service.catalog.runs.get(reading.tenant, run.json()["id"]).request.inputs
    assert Path(place).read_bytes() == ROWS and "/uploads/upl_" in place
    assert len(elsewhere.asked) == asked
    assert reading.one.get("/v1/uploads").json()["items"][0]["name"] == "rows.jsonl", "it counts as an upload"
    changed = reading.one.post(f"/v1/datasets/{found['id']}:check-origin")
    assert changed.status_code == 200 and changed.json()["changed"] is True
    elsewhere.files["/sets/rows.jsonl"] = ROWS
    assert reading.one.post(f"/v1/datasets/{found['id']}:check-origin").json()["changed"] is False
    del elsewhere.files["/sets/rows.jsonl"]
    gone = reading.one.post(f"/v1/datasets/{found['id']}:check-origin")
    assert gone.status_code == 422 and "HTTP 404" in gone.json()["detail"]


def test_a_redirect_is_followed_where_it_may_lead(reading: House, elsewhere: Elsewhere) -> None:
    elsewhere.files["/sets/a/new.jsonl"] = ROWS
    elsewhere.files["/sets/old.jsonl"] = to("a/new.jsonl")
    assert settled(reading, f"{elsewhere.url}/old.jsonl")["rows"] == 50


@pytest.mark.parametrize(
    "place",
    ["/secret.jsonl", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "/sets/%2e%2e/secret.jsonl"],
)
def test_a_redirect_leads_nowhere_else(reading: House, elsewhere: Elsewhere, place: str) -> None:
    elsewhere.files["/secret.jsonl"] = ROWS
    elsewhere.files["/sets/lure.jsonl"] = to(place)
    before = len(elsewhere.asked)
    found = settled(reading, f"{elsewhere.url}/lure.jsonl")
    assert found["state"] == "rejected" and "WINNOW_INPUT_ROOTS" in found["error"]["message"]
    assert [path for path, _ in elsewhere.asked[before:]] == ["/sets/lure.jsonl"]


def test_a_circle_of_redirects_ends(reading: House, elsewhere: Elsewhere) -> None:
    elsewhere.files["/sets/round.jsonl"] = to("/sets/round.jsonl")
    assert "redirected more than" in settled(reading, f"{elsewhere.url}/round.jsonl")["error"]["message"]


@pytest.mark.parametrize(
    "tail",
    [
        "/../secret.jsonl",
        "/%2e%2e/secret.jsonl",
        "/%252e%252e/secret.jsonl",
        "/..%2fsecret.jsonl",
        "/a/./b.jsonl",
        "/rows.jsonl?token=1",
        "/rows.jsonl#x",
        "X/rows.jsonl",
        "/ro ws.jsonl",
        "/\\..\\secret.jsonl",
    ],
)
def test_an_address_that_is_not_plainly_below_is_refused(reading: House, elsewhere: Elsewhere, tail: str) -> None:
    before = len(elsewhere.asked)
    answer = reading.one.post("/v1/datasets", json={"uri": elsewhere.url + tail})
    assert answer.status_code in (400, 422) and "WINNOW_INPUT_ROOTS" in answer.json()["detail"], answer.text
    assert len(elsewhere.asked) == before


def test_another_host_or_port_is_refused(reading: House, elsewhere: Elsewhere) -> None:
    port = elsewhere.server_address[1]
    for uri in (
        "http://127.0.0.1:1/sets/rows.jsonl",
        f"http://localhost:{port}/sets/rows.jsonl",
        f"https://127.0.0.1:{port}/sets/rows.jsonl",
        f"http://127.0.0.1:{port}@evil.example/sets/rows.jsonl",
        f"filecache::http://127.0.0.1:{port}/sets/rows.jsonl",
    ):
        answer = reading.one.post("/v1/datasets", json={"uri": uri})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_input"), uri


def test_a_file_no_reader_knows_is_refused_at_once(reading: House, elsewhere: Elsewhere) -> None:
    answer = reading.one.post("/v1/datasets", json={"uri": f"{elsewhere.url}/program.exe"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")


def test_nothing_is_kept_of_what_is_too_large(reading: House, elsewhere: Elsewhere) -> None:
    elsewhere.files["/sets/endless.jsonl"] = endless
    before = reading.service.catalog.uploads.bytes_in_use(reading.tenant)
    stored = list(reading.service.store.list("uploads"))
    found = settled(reading, f"{elsewhere.url}/endless.jsonl")
    assert found["state"] == "rejected" and "WINNOW_MAX_UPLOAD_BYTES" in found["error"]["message"]
    assert reading.service.catalog.uploads.bytes_in_use(reading.tenant) == before
    assert list(reading.service.store.list("uploads")) == stored


@pytest.mark.parametrize("limit", ["upload_bytes", "stored_bytes"])
def test_nothing_is_kept_beyond_the_tenants_own_quota(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr("api.allowances._KNOWN_S", 0.0)
    elsewhere.files["/sets/rows.jsonl"] = ROWS
    catalog = reading.service.catalog
    used, stored = catalog.uploads.bytes_in_use(reading.tenant), list(reading.service.store.list("uploads"))
    try:
        catalog.quotas.set(reading.tenant, Quota(**{limit: used + len(ROWS) - 1}))
        found = settled(reading, f"{elsewhere.url}/rows.jsonl")
        assert found["state"] == "rejected" and limit in found["error"]["message"]
        assert "bytes that may be taken" in found["error"]["message"], "it is given up on the way, not at the end"
        assert catalog.uploads.bytes_in_use(reading.tenant) == used
        assert list(reading.service.store.list("uploads")) == stored
        catalog.quotas.set(reading.tenant, Quota(**{limit: used}))
        full = reading.one.post("/v1/datasets", json={"uri": f"{elsewhere.url}/rows.jsonl"})
        assert (full.status_code, full.json()["code"]) == (413, "quota_exceeded") and limit in full.text
    finally:
        catalog.quotas.set(reading.tenant, Quota())
        reading.service.allowances.of(reading.tenant)  # what was known is forgotten


def test_what_is_fetched_for_a_dataset_deleted_meanwhile_goes_too(reading: House, elsewhere: Elsewhere) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def waiting(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(ROWS)))
        handler.end_headers()
        asked.set()
        go_on.wait(20)
        handler.wfile.write(ROWS)

    elsewhere.files["/sets/waiting.jsonl"] = waiting
    service = reading.service
    used, stored = service.catalog.uploads.bytes_in_use(reading.tenant), list(service.store.list("uploads"))
    made = reading.one.post("/v1/datasets", json={"uri": f"{elsewhere.url}/waiting.jsonl"}).json()
    assert asked.wait(20)
    [future] = service.intake._under_way.values()
    assert reading.one.delete(f"/v1/datasets/{made['id']}").status_code == 204
    go_on.set()
    future.result(20)
    assert service.catalog.uploads.bytes_in_use(reading.tenant) == used
    assert list(service.store.list("uploads")) == stored


def test_nothing_is_left_of_a_tenant_removed_meanwhile(reading: House, monkeypatch: pytest.MonkeyPatch) -> None:
    service, tenant = reading.service, reading.service.catalog.keys.tenant("leaving").id
    stored = list(service.store.list("uploads"))

    def removed() -> Iterator[bytes]:
        yield ROWS
        with service.catalog.purging.forget_tenant(tenant):
            pass

    with pytest.raises((WinnowError, SQLAlchemyError)):
        service.uploads.keep(tenant, "rows.jsonl", removed())
    assert list(service.store.list("uploads")) == stored


def test_a_part_nobody_asked_for_is_not_the_whole(reading: House, elsewhere: Elsewhere) -> None:
    def part(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-99/{len(ROWS)}")
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(ROWS[:100])

    elsewhere.files["/sets/part.jsonl"] = part
    found = settled(reading, f"{elsewhere.url}/part.jsonl")
    assert found["state"] == "rejected" and "HTTP 206" in found["error"]["message"]


def test_a_redirect_to_what_is_no_address_is_a_clear_refusal(reading: House, elsewhere: Elsewhere) -> None:
    elsewhere.files["/sets/turning.jsonl"] = ROWS
    found = settled(reading, f"{elsewhere.url}/turning.jsonl")
    elsewhere.files["/sets/turning.jsonl"] = to("http://[")
    answer = reading.one.post(f"/v1/datasets/{found['id']}:check-origin")
    assert answer.status_code in (400, 422) and "no URL" in answer.json()["detail"], answer.text


def test_a_silent_host_takes_one_place_of_a_tenant(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.files["/sets/silent.jsonl"] = ROWS
    found = settled(reading, f"{elsewhere.url}/silent.jsonl")
    asked, go_on = threading.Event(), threading.Event()

    def silent(handler: Handler) -> None:
        asked.set()
        go_on.wait(20)
        handler.send_response(404)
        handler.end_headers()

    elsewhere.files["/sets/silent.jsonl"] = silent
    road = f"/v1/datasets/{found['id']}:check-origin"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(reading.client_of_one().post, road)
        assert asked.wait(20)
        late = reading.one.post(road)
        assert (late.status_code, late.json()["code"]) == (429, "too_many_checks") and late.headers["Retry-After"]
        go_on.set()
        assert first.result().status_code == 422
    elsewhere.files["/sets/silent.jsonl"] = ROWS
    assert reading.one.post(road).json()["changed"] is False, "the place is free again"


@pytest.mark.parametrize(("answer", "word"), [(short, "could not be fetched in 1 tries"), (None, "HTTP 404")])
def test_what_is_cut_short_or_gone_is_rejected(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, answer: Any, word: str
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    elsewhere.files["/sets/short.jsonl"] = answer
    found = settled(reading, f"{elsewhere.url}/short.jsonl")
    assert found["state"] == "rejected" and word in found["error"]["message"]


def test_a_busy_server_is_asked_again(reading: House, elsewhere: Elsewhere) -> None:
    answers = [503, 200]

    def busy(handler: Handler) -> None:
        status = answers.pop(0)
        handler.send_response(status)
        body = ROWS if status == 200 else b""
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    elsewhere.files["/sets/busy.jsonl"] = busy
    found = settled(reading, f"{elsewhere.url}/busy.jsonl")
    assert found["rows"] == 50
    assert reading.one.post(f"/v1/datasets/{found['id']}:check-origin").status_code == 422, "out of answers"


@pytest.mark.parametrize("dripping", [dripping, dripping_headers])
def test_what_takes_too_long_is_given_up(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, dripping: Any
) -> None:
    hurried = reading.service.settings.model_copy(update={"fetch_s": 0.3})
    monkeypatch.setattr(reading.service.fetcher, "_settings", hurried)
    elsewhere.files["/sets/slow.jsonl"] = dripping
    assert "WINNOW_FETCH_S" in settled(reading, f"{elsewhere.url}/slow.jsonl", 10)["error"]["message"]


def test_all_tries_together_have_one_deadline(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = reading.service.settings.model_copy(update={"fetch_s": 0.5})
    monkeypatch.setattr(reading.service.fetcher, "_settings", hurried)

    def failing(handler: Handler) -> None:
        handler.send_response(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    elsewhere.files["/sets/failing.jsonl"] = failing
    assert "WINNOW_FETCH_S" in settled(reading, f"{elsewhere.url}/failing.jsonl")["error"]["message"]


def test_an_origin_that_drips_is_not_waited_for(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.files["/sets/tiring.jsonl"] = ROWS
    found = settled(reading, f"{elsewhere.url}/tiring.jsonl")
    elsewhere.files["/sets/tiring.jsonl"] = dripping_headers
    monkeypatch.setattr(fetching, "SILENCE_S", 0.5)
    answer = reading.one.post(f"/v1/datasets/{found['id']}:check-origin", timeout=10)
    assert answer.status_code == 422 and "does not answer" in answer.json()["detail"]


def test_one_tenants_slow_hosts_hold_up_no_other(tmp_path: Path, elsewhere: Elsewhere) -> None:
    elsewhere.files |= {"/sets/slow.jsonl": dripping_headers, "/sets/rows.jsonl": ROWS}
    for house in open_house(tmp_path, elsewhere.url + "/"):  # type: ignore[arg-type]
        for _ in range(4):
            house.service.intake.validate(house.tenant, _away(house, f"{elsewhere.url}/slow.jsonl"))
        made = house.two.post("/v1/datasets", json={"uri": f"{elsewhere.url}/rows.jsonl"}).json()
        deadline = time.monotonic() + 10
        while house.two.get(f"/v1/datasets/{made['id']}").json()["state"] == "validating":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _away(house: House, url: str) -> DatasetVersion:
    make = house.service.catalog.datasets.create
    return make(house.tenant, "slow.jsonl", "text", {}, [url], origin={"url": url})[1]


@pytest.mark.parametrize("dripping", [dripping, dripping_headers])
def test_a_run_waits_for_what_is_still_being_fetched_and_an_ending_server_does_not(
    tmp_path: Path, elsewhere: Elsewhere, dripping: Any
) -> None:
    elsewhere.files["/sets/slow.jsonl"] = dripping
    for house in open_house(tmp_path, elsewhere.url + "/"):  # type: ignore[arg-type]
        made = house.one.post("/v1/datasets", json={"uri": f"{elsewhere.url}/slow.jsonl"}).json()
        assert made["state"] == "validating" and made["origin"]["sha256"] is None
        run = house.one.post("/v1/runs", json={"dataset": made["id"], "recipe": "text"})
        assert (run.status_code, run.json()["code"]) == (409, "conflict") and "being fetched" in run.text
        assert house.one.post(f"/v1/datasets/{made['id']}:check-origin").status_code == 409
        started = time.monotonic()
        house.service.intake.close()
        assert time.monotonic() - started < 5
        assert house.service.catalog.datasets.version(house.tenant, made["id"]).state == "validating"
        assert list(house.service.store.list("uploads")) == []


def test_the_address_that_was_looked_at_is_connected_to(
    reading: House, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere at the second look: there is no second look, and its own name is asked for."""
    import httpx

    looks: list[str] = []

    def resolve(host: str, port: int) -> list[Any]:
        looks.append(host)
        return [(0, 0, 0, "", ("93.184.216.34" if len(looks) == 1 else "169.254.169.254", port))]

    real = outbound.address_of
    monkeypatch.setattr(outbound, "address_of", partial(real, resolve=resolve))
    reached: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        reached.append((request.url.host, request.headers["host"]))
        return httpx.Response(200, content=b"ok")

    roots = ("https://data.example.org/sets/",)
    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        outbound.sent(client, "GET", "https://data.example.org/sets/a.csv", roots, "X") as found,
    ):
        assert found.status_code == 200
    assert (looks, reached) == (["data.example.org"], [("93.184.216.34", "data.example.org")])
    with (
        httpx.Client() as client,
        pytest.raises(outbound.RequestError, match="leads to an address inside"),
        outbound.sent(client, "GET", "https://data.example.org/sets/a.csv", roots, "X"),
    ):
        raise AssertionError("it was asked")

"""Uploads: parts in any order and twice, and every fault leaves nothing half-kept."""

from __future__ import annotations

import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

MIB = 2**20


def opened(client: httpx.Client, data: bytes, name: str = "rows.jsonl", **more: Any) -> dict[str, Any]:
    body = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}
    made = client.post("/v1/uploads", json=body)
    assert made.status_code == 201, made.text
    return made.json()  # type: ignore[no-any-return]


def test_parts_in_any_order_and_twice_make_the_file(house: Any) -> None:
    data = bytes(range(256)) * 4096 * 2 + b"tail"
    upload = opened(house.one, data, part_bytes=MIB)
    assert [part["size"] for part in upload["parts"]] == [MIB, MIB, 4]
    for number in (3, 1, 2, 1):
        part = upload["parts"][number - 1]
        sent = house.one.put(part["url"], content=data[(number - 1) * MIB :][: part["size"]])
        assert sent.status_code == 204, sent.text
    done = house.one.post(f"/v1/uploads/{upload['id']}:complete")
    assert (done.status_code, done.json()["state"]) == (200, "complete")
    assert house.one.post(f"/v1/uploads/{upload['id']}:complete").status_code == 200
    path = house.service.uploads.path(house.tenant, upload["id"])
    with open(path, "rb") as file:
        assert file.read() == data
    assert not house.service.store.list(f"uploads/{upload['id']}/parts")


def test_what_has_arrived_can_be_asked(house: Any) -> None:
    data = b"x" * (2 * MIB)
    upload = opened(house.one, data, part_bytes=MIB)
    address = f"/v1/uploads/{upload['id']}"
    assert house.one.head(address).headers["upload-received"] == "0"
    house.one.put(upload["parts"][1]["url"], content=data[MIB:])
    head = house.one.head(address)
    assert (head.headers["upload-length"], head.headers["upload-received"]) == (str(2 * MIB), str(MIB))
    assert head.content == b""
    assert [part["received"] for part in house.one.get(address).json()["parts"]] == [False, True]


def test_a_missing_part_is_named(house: Any) -> None:
    upload = opened(house.one, b"x" * (2 * MIB), part_bytes=MIB)
    house.one.put(upload["parts"][0]["url"], content=b"x" * MIB)
    answer = house.one.post(f"/v1/uploads/{upload['id']}:complete")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "misses 1 of 2 parts (2)" in answer.json()["detail"]


def test_a_wrong_hash_is_refused_and_the_parts_may_come_again(house: Any) -> None:
    data = b'{"text": "right"}\n'
    upload = opened(house.one, data)
    address = upload["parts"][0]["url"]
    house.one.put(address, content=data[::-1])
    answer = house.one.post(f"/v1/uploads/{upload['id']}:complete")
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
    assert upload["sha256"] in answer.json()["detail"]
    assert house.one.get(f"/v1/uploads/{upload['id']}").json()["state"] == "open"
    assert not house.service.store.exists(f"uploads/{upload['id']}/data.jsonl")
    house.one.put(address, content=data)
    assert house.one.post(f"/v1/uploads/{upload['id']}:complete").status_code == 200


@pytest.mark.parametrize("sent", [b"x" * 9, b"x" * (3 * MIB)])
def test_a_part_that_is_too_long_is_cut_off_and_not_kept(house: Any, sent: bytes) -> None:
    upload = opened(house.one, b"x" * 8)
    answer = house.one.put(upload["parts"][0]["url"], content=sent)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert house.one.head(f"/v1/uploads/{upload['id']}").headers["upload-received"] == "0"
    assert not house.service.store.list(f"uploads/{upload['id']}")


def test_a_part_that_ends_too_soon_is_not_kept(house: Any) -> None:
    upload = opened(house.one, b"x" * 8)
    answer = house.one.put(upload["parts"][0]["url"], content=b"x" * 7)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "after 7 of 8 bytes" in answer.json()["detail"]
    assert not house.service.store.list(f"uploads/{upload['id']}")


def test_a_connection_cut_in_the_middle_leaves_nothing(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    upload = opened(house.one, b"x" * (4 * MIB), part_bytes=4 * MIB)
    host, port = house.url.removeprefix("http://").split(":")
    head = (
        f"PUT {upload['parts'][0]['url']} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {4 * MIB}\r\n"
        f"Authorization: {house.one.headers['authorization']}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as line:
        line.sendall(head.encode() + b"x" * (2 * MIB))
    folder = f"uploads/{upload['id']}"
    deadline = time.monotonic() + 10
    while house.service.store.list(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not house.service.store.list(folder)
    assert house.one.put(upload["parts"][0]["url"], content=b"x" * (4 * MIB)).status_code == 204
    assert not [record for record in caplog.records if record.levelname == "ERROR"]  # a caller may hang up


@pytest.mark.parametrize("number", ["0", "2", "-1", "x", "99999999"])
def test_a_part_the_file_does_not_have(house: Any, number: str) -> None:
    upload = opened(house.one, b"x" * 8)
    answer = house.one.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=b"x" * 8)
    assert answer.status_code in (400, 422), answer.text


def test_a_complete_upload_takes_no_more(house: Any, send: Any) -> None:
    upload = send(house.one, b'{"text": "a"}\n', "a.jsonl")
    answer = house.one.put(f"/v1/uploads/{upload}/parts/1", content=b'{"text": "b"}\n')
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"size": 0}, 422),
        ({"sha256": "abc"}, 422),
        ({"name": ""}, 422),
        ({"name": "rows"}, 422),
        ({"name": "../../etc/passwd"}, 422),
        ({"size": 33 * MIB}, 413),
        ({"part_bytes": 1}, 422),
    ],
)
def test_what_cannot_be_opened(house: Any, body: dict[str, Any], status: int) -> None:
    answer = house.one.post("/v1/uploads", json={"name": "a.csv", "size": 8, "sha256": "0" * 64, **body})
    assert answer.status_code == status, answer.text


def test_a_name_never_becomes_a_path(house: Any) -> None:
    upload = opened(house.one, b"a,b\n1,2\n", name="../../../tmp/evil/../x.csv")
    house.one.put(upload["parts"][0]["url"], content=b"a,b\n1,2\n")
    house.one.post(f"/v1/uploads/{upload['id']}:complete")
    assert house.service.store.list(f"uploads/{upload['id']}") == [f"uploads/{upload['id']}/x.csv"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("données 2.jsonl.gz", "données_2.jsonl.gz"),
        ("..hidden.csv", "hidden.csv"),
        (".csv", "data.csv"),
        ("c:\\a\\b.CSV", "b.csv"),
        ("\u8a00" * 200 + ".csv", "\u8a00" * 40 + ".csv"),
    ],
)
def test_what_is_harmless_of_a_name_stays(house: Any, name: str, kept: str) -> None:
    upload = opened(house.one, b"a,b\n1,2\n", name=name)
    house.one.put(upload["parts"][0]["url"], content=b"a,b\n1,2\n")
    house.one.post(f"/v1/uploads/{upload['id']}:complete")
    assert house.service.store.list(f"uploads/{upload['id']}") == [f"uploads/{upload['id']}/{kept}"]


def test_a_rejected_dataset_names_the_file_that_was_sent(house: Any) -> None:
    ids = []
    for name, data in (("first.jsonl", b'{"id": 1, "text": "a"}\n'), ("second.jsonl", b'{"id": "x", "text": "b"}\n')):
        upload = opened(house.one, data, name=name)
        house.one.put(upload["parts"][0]["url"], content=data)
        house.one.post(f"/v1/uploads/{upload['id']}:complete")
        ids.append(upload["id"])
    dataset = house.one.post("/v1/datasets", json={"upload_ids": ids}).json()
    while dataset["state"] == "validating":
        time.sleep(0.05)
        dataset = house.one.get(f"/v1/datasets/{dataset['id']}").json()
    assert dataset["state"] == "rejected"
    assert "second.jsonl" in dataset["error"]["message"]
    assert "first.jsonl" in dataset["error"]["message"]


def test_two_requests_may_complete_at_the_same_time(house: Any) -> None:
    data = b"x" * (8 * MIB)
    upload = opened(house.one, data, part_bytes=MIB)
    for part in upload["parts"]:
        house.one.put(part["url"], content=data[: part["size"]])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: house.one.post(f"/v1/uploads/{upload['id']}:complete"), range(4)))
    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(200, "complete")] * 4


def test_the_quota_counts_what_is_announced_and_is_freed(house: Any) -> None:
    first = house.two.post("/v1/uploads", json={"name": "a.csv", "size": 32 * MIB, "sha256": "1" * 64}).json()["id"]
    second = house.two.post("/v1/uploads", json={"name": "b.csv", "size": 31 * MIB, "sha256": "2" * 64}).json()["id"]
    over = house.two.post("/v1/uploads", json={"name": "c.csv", "size": 2 * MIB, "sha256": "3" * 64})
    assert (over.status_code, over.json()["code"]) == (413, "quota_exceeded") and "in use" in over.json()["detail"]
    for upload in (first, second):
        assert house.two.delete(f"/v1/uploads/{upload}").status_code == 204
    assert house.two.post("/v1/uploads", json={"name": "c.csv", "size": 2 * MIB, "sha256": "3" * 64}).status_code == 201


def test_a_deleted_upload_is_gone_with_its_bytes(house: Any, send: Any) -> None:
    upload = send(house.one, b'{"text": "a"}\n', "a.jsonl")
    assert house.one.delete(f"/v1/uploads/{upload}").status_code == 204
    assert house.one.get(f"/v1/uploads/{upload}").status_code == 404
    assert house.one.delete(f"/v1/uploads/{upload}").status_code == 404
    assert not house.service.store.list(f"uploads/{upload}")


def test_creating_twice_with_a_key_creates_once(house: Any) -> None:
    body, key = {"name": "a.csv", "size": 8, "sha256": "0" * 64}, {"Idempotency-Key": "uploads-once"}
    first, second = (house.one.post("/v1/uploads", json=body, headers=key) for _ in range(2))
    assert first.json() == second.json() and first.status_code == second.status_code == 201
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"] == f"/v1/uploads/{first.json()['id']}"


def test_lists_are_paged_newest_first(house: Any) -> None:
    ids = [opened(house.one, b"x" * 8)["id"] for _ in range(3)]
    page = house.one.get("/v1/uploads?limit=2").json()
    assert [item["id"] for item in page["items"]] == ids[::-1][:2]
    following = house.one.get(f"/v1/uploads?limit=1&cursor={page['next_cursor']}").json()
    assert following["items"][0]["id"] == ids[0]

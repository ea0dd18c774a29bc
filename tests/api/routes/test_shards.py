"""Shards and indexes: the bytes their digest names, whole or in ranges, never sent to who has them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest


@pytest.fixture(scope="module")
def shard(house: Any, finished: dict[str, Any]) -> tuple[str, bytes]:
    """A shard's digest and its bytes on disk."""
    listed = house.one.get(f"/v1/manifests/{finished['summary']['manifest']}").json()["shards"]
    digest = listed[0]["digest"]
    data = house.service.store.read_bytes(f"shards/{digest[:2]}/{digest}.arrow")
    assert hashlib.sha256(data).hexdigest() == digest
    return digest, data


def test_a_shard_is_its_bytes(house: Any, shard: tuple[str, bytes]) -> None:
    digest, data = shard
    answer = house.one.get(f"/v1/shards/{digest}")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["etag"] == f'"{digest}"'
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["accept-ranges"] == "bytes"
    assert "immutable" in answer.headers["cache-control"] and "private" in answer.headers["cache-control"]
    assert answer.headers["content-disposition"].startswith("attachment")


def test_head_tells_the_same_without_bytes(house: Any, shard: tuple[str, bytes]) -> None:
    digest, data = shard
    head = house.one.head(f"/v1/shards/{digest}")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    assert head.headers["etag"] == f'"{digest}"'
    assert house.one.head(f"/v1/shards/{digest}", headers={"Range": "bytes=0-9"}).status_code == 206


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("bytes=0-0", 0, 1), ("bytes=5-99", 5, 100), ("bytes=100-", 100, None), ("bytes=-7", -7, None),
     ("bytes=10-99999999", 10, None), ("bytes=-99999999", 0, None), ("Bytes = 1 - 2", 1, 3)],
)  # fmt: skip
def test_a_range_is_that_part(house: Any, shard: tuple[str, bytes], header: str, low: int, high: int | None) -> None:
    digest, data = shard
    answer = house.one.get(f"/v1/shards/{digest}", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, data[low:high])
    first = len(data) + low if low < 0 else low
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(data)}"


@pytest.mark.parametrize(
    "header", ["bytes=0-1,4-5", "rows=0-5", "bytes=x-y", "bytes=5-2", "bytes=-", "bytes", "bytes=٣-٥"]
)
def test_a_range_nobody_understands_is_ignored(house: Any, shard: tuple[str, bytes], header: str) -> None:
    answer = house.one.get(f"/v1/shards/{shard[0]}", headers={"Range": header.encode()})
    assert (answer.status_code, answer.content) == (200, shard[1])


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=99999999-100000000", "bytes=-0"])
def test_a_range_outside_is_refused_with_the_size(house: Any, shard: tuple[str, bytes], header: str) -> None:
    answer = house.one.get(f"/v1/shards/{shard[0]}", headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "range")
    assert answer.headers["content-range"] == f"bytes */{len(shard[1])}"


def test_if_range_with_another_tag_gives_the_whole(house: Any, shard: tuple[str, bytes]) -> None:
    address, part = f"/v1/shards/{shard[0]}", {"Range": "bytes=0-3"}
    assert house.one.get(address, headers={**part, "If-Range": f'"{shard[0]}"'}).status_code == 206
    assert house.one.get(address, headers={**part, "If-Range": '"other"'}).status_code == 200


def test_who_has_it_is_not_sent_it_again(house: Any, shard: tuple[str, bytes]) -> None:
    for tags in (f'"{shard[0]}"', f'"x", W/"{shard[0]}"', "*"):
        answer = house.one.get(f"/v1/shards/{shard[0]}", headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")


def test_indexes_are_served_alike_and_under_their_own_name(house: Any, finished: dict[str, Any]) -> None:
    listed = house.one.get(f"/v1/manifests/{finished['summary']['manifest']}").json()["shards"]
    index = next(info["index"] for info in listed if info["index"])
    answer = house.one.get(f"/v1/indexes/{index}")
    assert hashlib.sha256(answer.content).hexdigest() == index
    assert house.one.get(f"/v1/shards/{index}").status_code == 404
    assert house.one.get(f"/v1/indexes/{listed[0]['digest']}").status_code == 404


@pytest.mark.parametrize("digest", ["0" * 64, "x", "..%2f..%2fwinnow.db", "%00"])
def test_what_no_manifest_lists_is_not_there(house: Any, finished: dict[str, Any], digest: str) -> None:
    assert house.one.get(f"/v1/shards/{digest}").status_code == 404


def test_a_shard_cut_short_on_disk_is_never_served(house: Any, finished: dict[str, Any]) -> None:
    listed = house.one.get(f"/v1/manifests/{finished['summary']['manifest']}").json()["shards"]
    digest = listed[-1]["digest"]
    name = f"shards/{digest[:2]}/{digest}.arrow"
    whole = house.service.store.read_bytes(name)
    house.service.store.write_bytes(name, whole[:-8])
    try:
        answer = house.one.get(f"/v1/shards/{digest}")
        assert (answer.status_code, answer.json()["code"]) == (500, "integrity")
    finally:
        house.service.store.write_bytes(name, whole)

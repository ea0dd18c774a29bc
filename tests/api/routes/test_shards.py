"""Shards and indexes: the bytes their digest names, whole or in ranges, never sent to who has them."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
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


def test_some_columns_of_a_shard_are_its_rows_under_a_tag_of_their_own(house: Any, shard: tuple[str, bytes]) -> None:
    digest, data = shard
    whole = pa.ipc.open_file(data)
    answer = house.one.get(f"/v1/shards/{digest}?columns=sample_id,id")
    assert answer.status_code == 200, answer.text
    part = pa.ipc.open_file(answer.content)
    assert part.schema.names == [name for name in whole.schema.names if name in ("id", "sample_id")]
    assert part.read_all().equals(whole.read_all().select(part.schema.names))
    sizes = [[reader.get_batch(n).num_rows for n in range(reader.num_record_batches)] for reader in (part, whole)]
    assert sizes[0] == sizes[1] and len(answer.content) < len(data)
    tag = answer.headers["etag"]
    assert tag == f'"{hashlib.sha256(answer.content).hexdigest()}"' and "immutable" in answer.headers["cache-control"]
    for again in ("id,sample_id", "sample_id,id,id"):
        assert house.one.get(f"/v1/shards/{digest}?columns={again}").headers["etag"] == tag, "columns are a set"
    assert house.one.get(f"/v1/shards/{digest}?columns=id").headers["etag"] != tag


def test_some_columns_take_ranges_and_conditions_like_a_file(house: Any, shard: tuple[str, bytes]) -> None:
    address = f"/v1/shards/{shard[0]}?columns=id"
    whole = house.one.get(address)
    assert house.one.get(address, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    part = house.one.get(address, headers={"Range": "bytes=5-20", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[5:21])
    head = house.one.head(address)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", whole.headers["etag"])
    assert int(head.headers["content-length"]) == len(whole.content)
    other = house.one.get(address, headers={"Range": "bytes=5-20", "If-Range": f'"{shard[0]}"'})
    assert (other.status_code, other.content) == (200, whole.content)


@pytest.mark.parametrize(("columns", "named"), [("id,nothing", "nothing"), ("", None), ("id,", None), ("ID", "ID")])
def test_columns_a_shard_does_not_have(house: Any, shard: tuple[str, bytes], columns: str, named: str | None) -> None:
    answer = house.one.get(f"/v1/shards/{shard[0]}?columns={columns}")
    assert answer.status_code == 422, answer.text
    assert named is None or answer.json()["errors"][0]["column"] == named


def test_some_columns_of_anothers_shard(house: Any, shard: tuple[str, bytes]) -> None:
    assert house.two.get(f"/v1/shards/{shard[0]}?columns=id").status_code == 404


def test_shards_of_a_local_root_are_fetched_here(
    house: Any, finished: dict[str, Any], shard: tuple[str, bytes]
) -> None:
    listed = house.one.get(f"/v1/manifests/{finished['summary']['manifest']}").json()["shards"]
    index = next(info["index"] for info in listed if info["index"])
    answer = house.one.post("/v1/shards:presign", json={"digests": [shard[0], index, shard[0]]})
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    first, second = answer.json()["items"]
    assert first == {
        "digest": shard[0], "bytes": len(shard[1]), "url": f"/v1/shards/{shard[0]}", "direct": False, "expires_at": None
    }  # fmt: skip
    assert house.one.get(second["url"]).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [({"digests": []}, 422), ({"digests": ["x"]}, 404), ({"digests": ["x"], "expires_s": 10**6}, 422)],
)
def test_urls_that_are_not_given(house: Any, body: dict[str, Any], status: int) -> None:
    assert house.one.post("/v1/shards:presign", json=body).status_code == status


def test_no_url_of_anothers_shard(house: Any, shard: tuple[str, bytes]) -> None:
    assert house.two.post("/v1/shards:presign", json={"digests": [shard[0]]}).status_code == 404

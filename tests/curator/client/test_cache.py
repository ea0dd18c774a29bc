"""The cache of files: whole or absent, bounded, and not stopped by what a crash left."""

import errno
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from curator.client.cache import STALE_S, FileCache, claim, default_cache_dir, trim
from curator.errors import DiskFullError, RequestError, TransportError

SHARD = hashlib.sha256(b"shard").hexdigest()


def put(cache, number, size=100):
    data = bytes([number]) * size
    digest = hashlib.sha256(data).hexdigest()
    return cache.get(f"shards/{digest}.arrow", digest, lambda file: file.write(data))


def test_the_least_recently_used_go_first_and_the_newest_stays(tmp_path):
    cache = FileCache(tmp_path, limit_bytes=250)
    mapped = put(cache, 1)
    put(cache, 2)
    cache.settle()
    for age, path in enumerate(sorted(tmp_path.rglob("*.arrow"))):
        os.utime(path, (time.time() - 100 - age, time.time() - 100 - age))
    put(cache, 1)  # used again
    put(cache, 3)
    cache.settle()
    left = {path.read_bytes()[0] for path in tmp_path.rglob("*.arrow")}
    assert left == {1, 3}
    put(cache, 4, size=250)
    cache.settle()
    assert {path.read_bytes()[0] for path in tmp_path.rglob("*.arrow")} == {4}
    assert bytes(mapped) == b"\x01" * 100, "an evicted file stays readable for whoever mapped it"


def test_a_limit_under_one_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot hold one shard of 251"):
        FileCache(tmp_path, limit_bytes=250).require(251)
    FileCache(tmp_path, limit_bytes=250).require(250)


def test_leftovers_do_not_stop_a_start_and_go_unless_somebody_writes_them(tmp_path):
    left, new, held = tmp_path / "shards" / "a.arrow.1.tmp", tmp_path / "b.arrow.2.tmp", tmp_path / "c.arrow.3.tmp"
    left.parent.mkdir()
    for path in (left, new, held):
        path.write_bytes(b"half")
    for path in (left, held):
        os.utime(path, (time.time() - 2 * STALE_S,) * 2)
    with held.open("r+b") as file:
        claim(file)
        FileCache(tmp_path)
        assert not left.exists() and new.exists() and held.exists()
    FileCache(tmp_path)
    assert not held.exists()


def test_what_was_used_since_is_spared(tmp_path):
    cache = FileCache(tmp_path)
    for number in (1, 2, 3):
        put(cache, number)
    cache.settle()
    for age, path in enumerate(sorted(tmp_path.rglob("*.arrow"))):
        os.utime(path, (time.time() - 100 * age,) * 2)
    assert trim(tmp_path, 0, used_before=time.time() - 150) == 200
    assert trim(tmp_path, 100) == 100


def test_a_failed_fetch_leaves_nothing(tmp_path):
    cache = FileCache(tmp_path)

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("x.arrow", "0" * 64, fail)
    assert list(tmp_path.rglob("*")) == []


def test_a_file_is_given_out_at_once_and_gets_its_name_when_it_is_synced(tmp_path, monkeypatch):
    cache, synced, go, sync = FileCache(tmp_path), [], threading.Event(), os.fsync
    named = {n: tmp_path / f"shards/{hashlib.sha256(bytes([n]) * 100).hexdigest()}.arrow" for n in (1, 2)}

    def slow(descriptor):
        assert go.wait(30)
        synced.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr("curator.client.cache.os.fsync", slow)
    assert bytes(put(cache, 1)) == b"\x01" * 100
    assert not named[1].exists() and not synced
    assert bytes(put(cache, 1)) == b"\x01" * 100, "not fetched again meanwhile"
    go.set()
    put(cache, 2)
    assert named[1].exists(), "one is synced at a time"
    cache.settle()
    assert named[2].exists() and not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_found_late_is_told_by_the_next(tmp_path, monkeypatch):
    cache = FileCache(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("curator.client.cache.os.fsync", full)
        put(cache, 1)
        with pytest.raises(DiskFullError, match="no space left for shards/"):
            put(cache, 2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert bytes(put(cache, 1)) == b"\x01" * 100


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "here"))
    assert default_cache_dir() == tmp_path / "here"
    monkeypatch.delenv("WINNOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "winnow"


def test_of_many_who_want_a_file_one_fetches_it(tmp_path):
    fetched = []

    def fetch(file):
        fetched.append(1)
        time.sleep(0.2)
        file.write(b"shard")

    caches = [FileCache(tmp_path) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        given = [pool.submit(caches[n % 3].get, "a.arrow", SHARD, fetch) for n in range(6)]
        assert {bytes(buffer.result()) for buffer in given} == {b"shard"}
    assert len(fetched) == 1


def test_a_fetch_that_fails_lets_the_next_try(tmp_path):
    def fails(file):
        raise TransportError("gone")

    for _ in range(2):
        with pytest.raises(TransportError):
            FileCache(tmp_path).get("a.arrow", SHARD, fails)
    assert bytes(FileCache(tmp_path).get("a.arrow", SHARD, lambda file: file.write(b"shard"))) == b"shard"

"""What no manifest lists goes; what anybody counts on stays, whoever writes at the same time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from curator.errors import IntegrityError
from curator.shards import Manifest, ShardInfo, ShardWriter
from curator.shards.layout import manifest_name, shard_name
from curator.shards.sweeping import sweep_orphans
from curator.storage import Store

SCHEMA = pa.schema([("text", pa.string()), ("sample_id", pa.binary(16))])
HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def shard(store: Store, word: str, *, hours_old: float = 0.0) -> ShardInfo:
    writer = ShardWriter(store, SCHEMA)
    writer.write(pa.record_batch([pa.array([word]), pa.array([word.encode().ljust(16)], pa.binary(16))], schema=SCHEMA))
    (info,) = writer.close()
    aged(store, info, hours_old)
    return info


def aged(store: Store, info: ShardInfo, hours: float) -> None:
    then = time.time() - hours * HOUR
    os.utime(store.path(shard_name(info.digest)), (then, then))


def there(store: Store, info: ShardInfo) -> bool:
    return store.exists(shard_name(info.digest))


def listed(store: Store, *infos: ShardInfo) -> Manifest:
    manifest = Manifest.of(schema=SCHEMA, shards=infos)
    manifest.save(store)
    return manifest


def test_only_what_is_old_and_counted_on_by_nobody_goes(store: Store) -> None:
    kept, young, working, orphan = (
        shard(store, word, hours_old=hours)
        for word, hours in (("kept", 9), ("young", 0.5), ("working", 9), ("orphan", 9))
    )
    listed(store, kept)
    assert sweep_orphans(store, {working.digest}, HOUR) == 1
    assert [there(store, info) for info in (kept, young, working, orphan)] == [True, True, True, False]
    assert sweep_orphans(store, {working.digest}, HOUR) == 0


def test_an_empty_root_has_nothing_to_sweep(store: Store) -> None:
    assert sweep_orphans(store, (), 0.0) == 0


def test_writing_a_shard_again_renews_it(store: Store) -> None:
    shard(store, "again", hours_old=9)
    info = ShardWriter(store, SCHEMA)
    info.write(pa.record_batch([pa.array(["again"]), pa.array([b"again".ljust(16)], pa.binary(16))], schema=SCHEMA))
    (again,) = info.close()
    assert sweep_orphans(store, (), HOUR) == 0 and there(store, again)


def test_a_shard_renewed_while_it_is_set_aside_comes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan, rename = shard(store, "raced", hours_old=9), os.rename

    def raced(source: str, target: str) -> None:
        if target.endswith(".aside"):
            assert store.renew(shard_name(orphan.digest), orphan.bytes)
        rename(source, target)

    monkeypatch.setattr(os, "rename", raced)
    assert sweep_orphans(store, (), HOUR) == 0
    assert there(store, orphan) and store.list("shards") == [shard_name(orphan.digest)]


def test_a_writer_who_comes_too_late_to_renew_writes_it_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan, rename = shard(store, "late", hours_old=9), os.rename

    def raced(source: str, target: str) -> None:
        rename(source, target)
        if target.endswith(".aside"):
            shard(store, "late")

    monkeypatch.setattr(os, "rename", raced)
    assert sweep_orphans(store, (), HOUR) == 1
    assert there(store, orphan) and store.list("shards") == [shard_name(orphan.digest)]


def test_a_sweep_removes_only_what_it_set_aside_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between one sweep's look and its removal the shard is written anew, and another sweep sets that aside."""
    orphan, remove, rename, held = shard(store, "twice", hours_old=9), os.remove, os.rename, []
    path = store.path(shard_name(orphan.digest))

    def raced(aside: str) -> None:
        if not held:
            shard(store, "twice")
            rename(path, f"{path}~other.aside")
            held.append(True)
        remove(aside)

    monkeypatch.setattr(os, "remove", raced)
    assert sweep_orphans(store, (), HOUR) == 1
    assert sweep_orphans(store, (), HOUR) == 0
    assert there(store, orphan) and store.list("shards") == [shard_name(orphan.digest)]


@pytest.mark.parametrize(("counted_on", "hours"), [(True, 9), (False, 0), (False, 9)])
def test_what_a_killed_sweep_had_set_aside_is_settled_by_the_next(store: Store, counted_on: bool, hours: float) -> None:
    info = shard(store, "aside", hours_old=hours)
    path = store.path(shard_name(info.digest))
    os.rename(path, f"{path}~0.aside")
    if counted_on:
        listed(store, info)
    back = counted_on or hours == 0
    assert sweep_orphans(store, (), HOUR) == (not back)
    assert there(store, info) == back and len(store.list("shards")) == back


def test_an_unreadable_manifest_stops_the_sweep(store: Store) -> None:
    orphan = shard(store, "orphan", hours_old=9)
    store.write_bytes(manifest_name("man_0"), b"{")
    with pytest.raises(IntegrityError, match="no shard is removed"):
        sweep_orphans(store, (), HOUR)
    assert there(store, orphan)


def test_writers_and_sweepers_at_once_lose_nothing(store: Store) -> None:
    """Over and over an orphan of old is taken up again and listed, while it is being swept."""
    done, lost, taken = threading.Event(), [], 0

    def sweep() -> None:
        while not done.is_set():
            sweep_orphans(store, (), HOUR)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    for turn in range(150):
        shard(store, f"word {turn % 3}", hours_old=9)  # left by somebody
        time.sleep(0.0005 * (turn % 5))
        info = shard_again(store, f"word {turn % 3}")
        taken += 1
        manifest = listed(store, info)
        sweep_orphans(store, (), HOUR)
        if not there(store, info):
            lost.append(turn)
        store.delete(manifest_name(manifest.id))
    done.set()
    for sweeper in sweepers:
        sweeper.join()
    assert lost == [] and taken == 150


def shard_again(store: Store, word: str) -> ShardInfo:
    """Written or renewed, as a run does it."""
    writer = ShardWriter(store, SCHEMA)
    writer.write(pa.record_batch([pa.array([word]), pa.array([word.encode().ljust(16)], pa.binary(16))], schema=SCHEMA))
    return writer.close()[0]

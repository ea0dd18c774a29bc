"""What no manifest lists goes; what anybody counts on stays, whoever writes at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from curator.errors import IntegrityError
from curator.shards import Manifest, ShardInfo, ShardWriter
from curator.shards.layout import manifest_name, shard_name
from curator.shards.publishing import held
from curator.shards.sweeping import orphans, sweep_orphans
from curator.storage import Store

SCHEMA = pa.schema([("text", pa.string()), ("sample_id", pa.binary(16))])
HOUR = 3600.0
REPO = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def times_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a file's last change of any kind cannot."""
    monkeypatch.setattr(Store, "touched_s", lambda store, name: mtime(store.path(name)))


def mtime(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


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


def test_a_shard_renewed_before_its_removal_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = shard(store, "raced", hours_old=9)
    for name in orphans(store, (), HOUR):
        assert store.renew(name, orphan.bytes)
    assert sweep_orphans(store, (), HOUR) == 0 and there(store, orphan)


def test_what_was_put_back_from_a_backup_is_new_whatever_its_times_say(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest may come back after it."""
    monkeypatch.undo()
    restored = shard(store, "restored", hours_old=9)
    assert sweep_orphans(store, (), HOUR) == 0 and there(store, restored)


def test_nothing_is_removed_while_a_writer_counts_on_it(store: Store) -> None:
    """The sweep waits for the hold, looks again and finds it renewed."""
    orphan = shard(store, "held", hours_old=9)
    name, swept = shard_name(orphan.digest), []
    sweeper = threading.Thread(target=lambda: swept.append(sweep_orphans(store, (), HOUR)))
    with held(store, name):
        sweeper.start()
        time.sleep(0.2)
        assert there(store, orphan) and not swept
        assert store.renew(name, orphan.bytes)
    sweeper.join()
    assert swept == [0] and there(store, orphan)


KILLED = """
import os, signal, sys
from curator.shards.publishing import held
from curator.shards.sweeping import orphans, sweep_orphans
from curator.storage import Store
Store.touched_s = lambda store, name: os.stat(store.path(name)).st_mtime
delete = Store.delete
def killed(store, name):
    if sys.argv[2] == "after":
        delete(store, name)
    os.kill(os.getpid(), signal.SIGKILL)
Store.delete = killed
sweep_orphans(Store.open(sys.argv[1]), (), 3600.0)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sweep_that_was_killed_leaves_a_shard_in_its_place_or_none(store: Store, when: str) -> None:
    orphan = shard(store, "killed", hours_old=9)
    done = subprocess.run([sys.executable, "-c", KILLED, store.base, when], cwd=REPO, check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.list("shards") == ([shard_name(orphan.digest)] if when == "before" else [])
    again = shard_again(store, "killed")  # nobody waits for the dead one's hold
    assert there(store, again) and sweep_orphans(store, (), HOUR) == 0


def test_objects_are_swept_too_and_written_again_once_a_day_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    bucket = Store(pafs._MockFileSystem(), "bucket", "mock://bucket")  # of files without times, which count as new
    bucket.filesystem.create_dir("bucket/shards/ab")
    name = shard_name("ab" + "0" * 62)
    bucket.write_bytes(name, b"x")
    assert bucket.renew(name, 1) and not bucket.renew(name, 2) and not bucket.renew("shards/none", 1)
    assert sweep_orphans(bucket, (), HOUR) == 0
    later = time.time() + 25 * HOUR
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        patch.setattr("curator.storage._modified_s", lambda _: later - 25 * HOUR)
        assert not bucket.renew(name, 1)
        assert sweep_orphans(bucket, (), 26 * HOUR) == 0
        assert sweep_orphans(bucket, (), 24 * HOUR) == 1
    assert not bucket.exists(name)


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

"""Scratch: bounded, shared by threads and processes, gone with the stream, and never in the way."""

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from curator.client import scratch
from curator.client.scratch import PREFIX, Scratch
from curator.client.shard_stream import ShardStream
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


FILE_BYTES = 8144 + scratch.FRAME_BYTES  # of a `batch`


def batch(number: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array([number] * 1000, pa.int64())})


class Maker:
    def __init__(self):
        self.made = []

    def __call__(self, number):
        def make():
            self.made.append(number)
            return batch(number)

        return make


def test_what_was_made_is_found_and_stays():
    one, maker = Scratch(), Maker()
    for _ in range(3):
        for number in range(5):
            rows, stays = one.of(("shard", number, None), maker(number))
            assert rows.equals(batch(number)) and stays
    assert maker.made == list(range(5))


def test_it_is_bounded_and_hits_under_a_circle(folder):
    one, maker = Scratch(10 * 9000), Maker()
    for _ in range(20):
        for number in range(20):
            rows, stays = one.of(number, maker(number))
            assert rows.equals(batch(number))
            assert sum(path.stat().st_size for path in folder.rglob("*.arrow")) <= one.max_bytes + 500
    assert not stays, "what may go is not to be held on to"
    assert 20 < len(maker.made) < 20 * 20 * 0.8, "the least recently used rule would make all of them again"


def test_what_came_first_stays_and_the_rest_is_made_again(folder):
    one, maker = Scratch(10 * FILE_BYTES), Maker()
    for _ in range(3):
        stay = [one.of(number, maker(number))[1] for number in range(15)]
        assert stay == [True] * 10 + [False] * 5
    assert maker.made == [*range(15), *range(10, 15), *range(10, 15)]
    assert len(list(folder.rglob("*.arrow"))) == 10, "nobody else wants the others: they are not written"


def test_what_does_not_stay_is_handed_on_for_a_while(folder):
    one, maker = Scratch(40 * FILE_BYTES), Maker()
    one.passes_on = True
    for number in range(36):
        assert one.of(number, maker(number))[1] == (number < 30)
    other = pickle.loads(pickle.dumps(one))
    for number in range(36):
        rows, stays = other.of(number, maker(number))
        assert rows.equals(batch(number)) and stays == (number < 30)
    assert maker.made == list(range(36)), "the other has none to make"
    for number in range(36, 80):
        one.of(number, maker(number))
        assert sum(path.stat().st_size for path in folder.rglob("*.arrow")) <= one.max_bytes
    other.of(30, maker(30))
    assert maker.made[-1] == 30, "it has made room"
    alone = pickle.loads(pickle.dumps(one))
    alone.passes_on = False
    for number in (90, 91):
        alone.of(number, maker(number))
    assert sum(path.stat().st_size for path in folder.rglob("*.arrow")) <= one.max_bytes


def test_a_part_emptied_while_it_is_written_to_costs_that_batch_only(monkeypatch):
    one, maker = Scratch(40 * FILE_BYTES), Maker()
    one.passes_on = True
    for number in range(30):
        one.of(number, maker(number))
    replace = os.replace

    def emptied(source, target):
        Path(source).unlink()
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(scratch.os, "replace", emptied)
        assert one.of(30, maker(30))[0].equals(batch(30))
    one.of(31, maker(31))
    assert one.of(31, maker(31))[0].equals(batch(31))
    assert one._memory is None and maker.made == list(range(32)) and len(list(one.folder.rglob("*.arrow"))) == 31


def _fill(one, first, out):
    one.passes_on = True
    for number in range(first, first + 60):
        rows, _ = one.of(number, lambda number=number: batch(number))
        assert rows["n"][0].as_py() == number
    out.put(first)


def test_processes_that_fill_it_together_keep_to_the_bound(folder):
    one, context = Scratch(40 * FILE_BYTES), multiprocessing.get_context("fork")
    out = context.Queue()
    workers = [context.Process(target=_fill, args=(one, 30 * which, out)) for which in range(4)]
    for worker in workers:
        worker.start()
    assert sorted(out.get(timeout=60) for _ in workers) == [0, 30, 60, 90]
    for worker in workers:
        worker.join(30)
    assert len(list(one.folder.glob("*.arrow"))) == 30, "three quarters are kept"
    late = 4 * FILE_BYTES  # what was being written to a part while that was emptied
    assert sum(path.stat().st_size for path in folder.rglob("*.arrow")) <= one.max_bytes + late
    assert not list(folder.rglob("*.tmp"))


def _decode(one, begin, out):
    maker = Maker()
    for number in range(30):
        rows, _ = one.of((number + begin) % 30, maker((number + begin) % 30))
        assert rows["n"][0].as_py() == (number + begin) % 30
        time.sleep(0.002)
    out.put(len(maker.made))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_work(method):
    one, context = Scratch(), multiprocessing.get_context(method)
    out = context.Queue()
    workers = [context.Process(target=_decode, args=(one, begin, out)) for begin in (0, 15)]
    for worker in workers:
        worker.start()
    made = [out.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(30)
    assert sum(made) == 30
    assert one.folder.exists(), "a worker's end takes nothing away"


def test_it_goes_with_its_owner_and_after_a_kill_at_the_next_start(folder):
    gone = Scratch()
    del gone
    assert list(folder.iterdir()) == []
    code = "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\nfrom curator.client.scratch import Scratch\n"
    code += "one = Scratch(); print(one.folder, flush=True); time.sleep(60)"
    running = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    left = Path(running.stdout.readline().strip())
    beside = Scratch()
    assert left.exists(), "somebody lives there"
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    again = Scratch()
    assert sorted(folder.iterdir()) == sorted([beside.folder, again.folder])
    assert left.name.startswith(PREFIX)


@pytest.mark.parametrize("trouble", ["full", "gone", "small"])
def test_a_disk_that_is_full_or_swept_costs_time_only(trouble, monkeypatch):
    one, maker = Scratch(100 if trouble == "small" else 10**6), Maker()
    if trouble == "gone":
        shutil.rmtree(one.folder)
    if trouble == "full":

        def full(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(scratch.pa, "OSFile", full)
    for _ in range(2):
        rows, stays = one.of("a", maker(1))
        assert rows.equals(batch(1)) and not stays
    assert not list(one.folder.glob("*.tmp"))
    assert maker.made == [1], "memory has it instead"
    assert pickle.loads(pickle.dumps(one)).of("a", maker(1))[0].equals(batch(1))


def test_a_process_forked_while_a_batch_is_made_keeps_nobody_waiting():
    one, forked, context = Scratch(), threading.Event(), multiprocessing.get_context("fork")

    def make():
        assert forked.wait(30)
        return batch(1)

    making = threading.Thread(target=one.of, args=("a", make))
    making.start()
    while not list(one.folder.glob("*.lock")):
        time.sleep(0.01)
    child = context.Process(target=time.sleep, args=(60,), daemon=True)
    child.start()
    forked.set()
    making.join(30)
    for path in one.folder.glob("*.arrow"):
        path.unlink()
    asked = threading.Thread(
        target=Scratch.of, args=(pickle.loads(pickle.dumps(one)), "a", lambda: batch(1)), daemon=True
    )
    asked.start()
    asked.join(20)
    child.terminate()
    assert not asked.is_alive()


def test_a_folder_that_cannot_be_locked_leaves_nothing(folder, monkeypatch):
    def unlockable(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(scratch.fcntl, "flock", unlockable)
    assert Scratch.of_size(100) is None
    assert not list(folder.iterdir())


def test_no_folder_no_scratch(folder, monkeypatch):
    assert Scratch.of_size(0) is None
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    assert Scratch.of_size(100) is None


@pytest.mark.parametrize("scratch_bytes", [0, 3000, 2**30])
def test_a_stream_gives_the_same_whatever_its_scratch(tmp_path, monkeypatch, scratch_bytes):
    monkeypatch.setattr("curator.epochs.plan.BLOCK_BYTES", 100)
    store = Store.open(tmp_path / "root")
    manifest = write_dataset(store, kept=300, target_bytes=1500).manifest
    options = {"global_batch_size": 10, "num_epochs": 2}
    expected = [b.to_pydict() for b in ShardStream(store, manifest, cache_dir=tmp_path / "copies", **options)]
    one = ShardStream(store, manifest, scratch_bytes=scratch_bytes, **options)
    for _ in range(2):
        assert [b.to_pydict() for b in one] == expected

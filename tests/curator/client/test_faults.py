"""What goes wrong under a stream: the exact order goes on, or an error names shard, offset and position. Never a row
skipped or repeated in silence."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from curator.client import decoded
from curator.client.shard_stream import ShardStream
from curator.client.sources import HttpSource
from curator.errors import DiskFullError, IntegrityError, NotFoundError, TransportError
from curator.shards.layout import index_name, manifest_name, shard_name
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset

BATCH = 12


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of 64 rows and chunks of 24, so that an epoch has several and faults meet it midway."""
    monkeypatch.setattr("curator.epochs.plan.BLOCK_BYTES", 100)
    monkeypatch.setattr("curator.client.windows.CHUNK_ROWS", 24)


@pytest.fixture
def made(tmp_path):
    store = Store.open(tmp_path / "root")
    return store, write_dataset(store, kept=1200, target_bytes=1500).manifest


def stream(source, manifest, **options):
    options = {"global_batch_size": BATCH, "num_epochs": 2, "curriculum": "constant", **options}
    return ShardStream(source, manifest, **options)


def numbers(batches) -> list[list[int]]:
    return [batch["number"].to_pylist() for batch in batches]


def until_it_breaks(one, kind) -> tuple[list[list[int]], Exception]:
    """The batches before the error, and the error."""
    seen = []
    with pytest.raises(kind) as caught:
        for batch in one:
            seen.append(batch["number"].to_pylist())
    return seen, caught.value


def last_in_order(made) -> str:
    """The shard that is needed last of all in the first epoch, by the order in which shards are opened."""
    asked: list[str] = []

    class Noting:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def manifest(self, name):
            return self.inner.manifest(name)

        def index(self, digest):
            return self.inner.index(digest)

        def discard(self, digest):
            return self.inner.discard(digest)

        def shard(self, digest):
            asked.append(digest)
            return self.inner.shard(digest)

    from curator.shards import StoreSource

    list(stream(Noting(StoreSource(made[0])), made[1]))
    return asked[-1]


@pytest.mark.parametrize("fault", ["cut", "flip", "gone"])
def test_a_damaged_root_stops_the_epoch_where_it_is_and_says_where(made, fault):
    store, manifest = made
    whole, digest = numbers(stream(store, manifest)), last_in_order(made)
    info = next(info for info in manifest.shards if info.digest == digest)
    raw = bytearray(store.read_bytes(shard_name(digest)))
    raw[info.batch_offsets[0] + 40] ^= 1
    if fault == "gone":
        store.delete(shard_name(digest))
    else:
        store.write_bytes(shard_name(digest), bytes(raw[:-50]) if fault == "cut" else bytes(raw))
    kind = NotFoundError if fault == "gone" else IntegrityError
    one = stream(store, manifest)
    seen, error = until_it_breaks(one, kind)
    assert seen == whole[: len(seen)] and 0 < len(seen) < len(whole)
    assert digest in str(error) and f"Epoch 0 stops at position {BATCH * len(seen)}:" in str(error)
    if fault != "gone":
        assert f"offset {info.bytes - 50 if fault == 'cut' else info.batch_offsets[0]}" in str(error)
    assert one.state_dict()["samples"] == BATCH * len(seen)


class Served(ThreadingHTTPServer):
    """The routes a source needs, over a real socket. faults: words by digest, used up one a request."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, store, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.store, self.faults, self.count = store, {}, 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the test."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self):
        kind, name = self.path.removeprefix("/v1/").split("/")
        place = {"manifests": manifest_name, "shards": shard_name, "indexes": index_name}[kind](name)
        self.server.count += 1
        fault = self.server.faults.get(name, []).pop(0) if self.server.faults.get(name) else None
        if fault == "404" or not self.server.store.exists(place):
            return self.send_error(404)
        data = self.server.store.read_bytes(place)
        if fault == "flip":
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(data[start : start + 100])
            self.connection.close()
            return None
        if fault == "stall":
            self.wfile.write(data[start : start + 100])
            self.wfile.flush()
            time.sleep(0.6)
            return None
        for low in range(start, len(data), 1000 if fault == "slow" else len(data)):
            self.wfile.write(data[low : low + (1000 if fault == "slow" else len(data))])
            if fault == "slow":
                self.wfile.flush()
                time.sleep(0.02)
        return None

    def log_message(self, *args): ...


@pytest.fixture
def server(made):
    one = Served(made[0])
    yield one
    one.stop()


def over_http(url, cache, **options):
    return HttpSource(url, cache_dir=cache, **{"timeout_s": 0.3, "retries": 8, "backoff_s": 0.01, **options})


@pytest.mark.parametrize("fault", ["cut", "slow", "stall", "flip"])
def test_a_bad_line_costs_time_and_no_row(made, server, tmp_path, fault):
    whole = numbers(stream(*made))
    times = 1 if fault == "flip" else 2  # a file that arrives wrong twice is given up
    server.faults = {info.digest: [fault] * times for info in made[1].shards[::12]}
    assert numbers(stream(over_http(server.url, tmp_path / "cache"), made[1])) == whole


def test_a_shard_the_server_does_not_have_is_named_with_the_position(made, server, tmp_path):
    whole, digest = numbers(stream(*made)), last_in_order(made)
    server.faults = {digest: ["404"] * 99}
    seen, error = until_it_breaks(stream(over_http(server.url, tmp_path / "cache"), made[1]), NotFoundError)
    assert seen == whole[: len(seen)] and seen
    assert f"stops at position {BATCH * len(seen)}" in str(error)


def test_a_shard_that_always_arrives_wrong_is_named_with_the_position(made, server, tmp_path):
    whole, digest = numbers(stream(*made)), last_in_order(made)
    server.faults = {digest: ["flip"] * 99}
    one = stream(over_http(server.url, tmp_path / "cache"), made[1])
    seen, error = until_it_breaks(one, IntegrityError)
    assert seen == whole[: len(seen)] and seen
    assert digest in str(error) and f"stops at position {BATCH * len(seen)}" in str(error)
    assert not list((tmp_path / "cache").rglob(f"*{digest}*")), "the bad file is gone"
    assert len(server.faults[digest]) == 97, "asked for, and once more: by nobody else again"
    server.faults = {}
    assert numbers(one) == whole, "the origin was restored"


@pytest.mark.parametrize("copies", [False, True])
def test_a_cached_file_that_rots_between_epochs_is_brought_again(made, server, tmp_path, copies):
    whole, cache = numbers(stream(*made)), tmp_path / "cache"
    assert numbers(stream(over_http(server.url, cache), made[1], cache_dir=cache if copies else None)) == whole
    for path in [path for path in cache.rglob("*.arrow") if "indexes" not in path.parts][::3]:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    assert numbers(stream(over_http(server.url, cache), made[1], cache_dir=cache if copies else None)) == whole


def test_a_server_restart_in_the_middle_of_an_epoch(made, tmp_path):
    whole = numbers(stream(*made))
    first = Served(made[0])
    port = first.server_address[1]
    running = iter(stream(over_http(first.url, tmp_path / "cache", backoff_s=0.05), made[1]))
    seen = numbers([next(running), next(running)])
    first.stop()
    again: list[Served] = []
    timer = threading.Timer(0.2, lambda: again.append(Served(made[0], port)))
    timer.start()
    seen += numbers(running)
    timer.join()
    again[0].stop()
    assert seen == whole


def test_a_server_that_stays_away_is_given_up_with_the_position_and_the_state_goes_on(made, tmp_path):
    whole = numbers(stream(*made))
    first = Served(made[0])
    one = stream(over_http(first.url, tmp_path / "cache", retries=1), made[1])
    running = iter(one)
    seen = numbers([next(running)])
    first.stop()
    with pytest.raises(TransportError, match=r"gave up after 2 tries.*Epoch 0 stops at position \d+"):
        for batch in running:
            seen.append(batch["number"].to_pylist())
    second = Served(made[0])
    other = stream(over_http(second.url, tmp_path / "cache"), made[1])
    other.load_state_dict(one.state_dict())
    assert seen + numbers(other) == whole
    second.stop()


@pytest.mark.parametrize("where", ["shards", "copies"])
def test_a_full_disk_is_an_error_that_says_what_to_do_and_leaves_nothing(made, server, tmp_path, monkeypatch, where):
    whole, cache = numbers(stream(*made)), tmp_path / "cache"

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if where == "shards":
            patch.setattr("curator.client.cache.os.fsync", full)
            one = stream(over_http(server.url, cache), made[1])
        else:
            patch.setattr(decoded, "_write_uncompressed", full)
            one = stream(made[0], made[1], cache_dir=cache)
        seen, error = until_it_breaks(one, DiskFullError)
    assert seen == [] and "no space left" in str(error) and str(cache) in str(error) and "position 0" in str(error)
    assert not [path for path in cache.rglob("*") if path.is_file()], "nothing half written stays"
    source = over_http(server.url, cache) if where == "shards" else made[0]
    assert numbers(stream(source, made[1], cache_dir=None if where == "shards" else cache)) == whole


CLIENT = """
import json, sys
import curator.epochs.plan
import curator.client.windows
curator.epochs.plan.BLOCK_BYTES, curator.client.windows.CHUNK_ROWS = 100, 24
from curator.client.shard_stream import ShardStream
from curator.client.sources import HttpSource
url, manifest, cache, samples, out = sys.argv[1:]
source = HttpSource(url, cache_dir=cache, cache_limit_bytes=12_000)
stream = ShardStream(source, manifest, global_batch_size=12, num_epochs=2, curriculum="constant", cache_dir=cache)
stream.load_state_dict({**stream.state_dict(), "samples": int(samples)})
with open(out, "a") as lines:
    for batch in stream:
        lines.write(json.dumps([ShardStream.position(batch), batch["number"].to_pylist()]) + "\\n")
        lines.flush()
"""


def client(server, manifest, cache, samples, out):
    command = [sys.executable, "-c", CLIENT, server.url, manifest.id, str(cache), str(samples), str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def written(out) -> list[tuple[int, list[int]]]:
    """Whole lines only: a killed client may have left half of one."""
    if not out.exists():
        return []
    return [tuple(json.loads(line)) for line in out.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_client_killed_and_started_again_goes_on_exactly(made, server, tmp_path):
    whole, out = numbers(stream(*made)), tmp_path / "seen"
    server.faults = {info.digest: ["slow"] for info in made[1].shards}
    for wanted in (1, len(whole) // 2):
        running = client(server, made[1], tmp_path / "cache", BATCH * len(written(out)), out)
        deadline = time.monotonic() + 60
        while len(written(out)) < wanted and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        text = out.read_text()
        out.write_text(text[: text.rfind("\n") + 1])
    last = client(server, made[1], tmp_path / "cache", BATCH * len(written(out)), out)
    _, words = last.communicate(timeout=60)
    assert last.returncode == 0, words
    assert written(out) == [(BATCH * (n + 1), rows) for n, rows in enumerate(whole)]


def test_two_clients_on_one_cache_that_is_too_small_for_both(made, server, tmp_path):
    whole, outs = numbers(stream(*made)), [tmp_path / "one", tmp_path / "two"]
    running = [client(server, made[1], tmp_path / "cache", 0, out) for out in outs]
    words = [one.communicate(timeout=90)[1] for one in running]
    assert [one.returncode for one in running] == [0, 0], words
    for out in outs:
        assert [rows for _, rows in written(out)] == whole
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_an_error_in_a_worker_names_the_shard_and_the_position(made):
    torch_data = pytest.importorskip("torch.utils.data")
    store, manifest = made
    digest = last_in_order(made)
    store.delete(shard_name(digest))
    one = stream(store.uri, manifest)
    with pytest.raises(NotFoundError, match=f"(?s){digest}.*stops at position"):
        list(torch_data.DataLoader(one, batch_size=None, num_workers=1))
    assert isinstance(next(iter(one)), pa.RecordBatch)

"""Sources: what a server or a disk can do to bytes on their way, and what the client makes of it."""

import pickle

import httpx
import pyarrow as pa
import pytest

from curator.client.shard_stream import ShardStream
from curator.client.sources import HttpSource, RemoteStoreSource, StoreSource, open_source
from curator.errors import IntegrityError, NotFoundError, RequestError, TransportError
from curator.shards import ShardReader
from curator.shards.layout import index_name, manifest_name, shard_name
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store, kept=200)


class Server:
    """The three routes a source needs, with Range and faults to order."""

    def __init__(self, store):
        self.store, self.requests, self.faults = store, [], []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.url.path, request.headers.get("Range")))
        if request.headers.get("Authorization") != "Bearer key":
            return httpx.Response(401, json={"title": "Unauthorized", "detail": "no such key"})
        kind, name = request.url.path.removeprefix("/v1/").split("/")
        place = {"manifests": manifest_name, "shards": shard_name, "indexes": index_name}[kind](name)
        if not self.store.exists(place):
            return httpx.Response(404, json={"detail": f"no {name}"})
        data, status = self.store.read_bytes(place), 200
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, int):
                return httpx.Response(fault, headers={"Retry-After": "0"}, text="busy")
            if fault == "silent":
                raise httpx.ConnectError("refused")
            if fault == "corrupt":
                data = bytes([data[0] ^ 1]) + data[1:]
            if fault == "broken":
                return httpx.Response(200, content=broken(data))
            if fault == "ranges ignored":
                return httpx.Response(200, content=data)
        if request.headers.get("Range"):
            data, status = data[int(request.headers["Range"].removeprefix("bytes=").rstrip("-")) :], 206
        return httpx.Response(status, content=data)


def broken(data):
    yield data[: len(data) // 2]
    raise httpx.ReadError("connection reset")


@pytest.fixture
def server(made):
    return Server(made[0])


def source(server, tmp_path, **options):
    return HttpSource(
        "http://winnow", "key", tmp_path / "cache", transport=httpx.MockTransport(server), backoff_s=0.001, **options
    )


def rows(reader, manifest):
    return pa.Table.from_batches(reader.iter_batches(manifest))


def test_over_http_equals_from_disk_and_comes_once(made, server, tmp_path):
    store, dataset = made
    web = source(server, tmp_path)
    assert rows(ShardReader(web), dataset.manifest.id).equals(rows(ShardReader(store), dataset.manifest.id))
    asked = len(server.requests)
    live = [info for info in dataset.manifest.shards if sum(info.live)]
    assert asked == 1 + 2 * len(live)
    web._cache.settle()
    rows(ShardReader(source(server, tmp_path)), dataset.manifest)
    assert len(server.requests) == asked, "a second reader finds everything in the cache"
    stream = ShardStream(web, dataset.manifest.id, global_batch_size=10, columns=["number"])
    local = ShardStream(store, dataset.manifest.id, global_batch_size=10, columns=["number"])
    assert [b["number"] for b in stream] == [b["number"] for b in local]


@pytest.mark.parametrize("fault", [503, 429, 500, "silent", "broken"])
def test_passing_faults_are_ridden_out(made, server, tmp_path, fault):
    info = made[1].manifest.shards[0]
    server.faults = [fault, fault]
    data = source(server, tmp_path).shard(info.digest)
    assert bytes(data) == made[0].read_bytes(shard_name(info.digest))
    assert len(server.requests) == 3


def test_a_broken_transfer_goes_on_where_it_stopped(made, server, tmp_path):
    info = made[1].manifest.shards[0]
    server.faults = ["broken"]
    source(server, tmp_path).shard(info.digest)
    assert [asked for _, asked in server.requests] == [None, f"bytes={info.bytes // 2}-"]
    server.faults = ["broken", "ranges ignored"]
    data = source(server, tmp_path / "other").shard(info.digest)
    assert bytes(data) == made[0].read_bytes(shard_name(info.digest))


def test_a_corrupt_arrival_is_fetched_once_more_then_named(made, server, tmp_path):
    info = made[1].manifest.shards[0]
    server.faults = ["corrupt"]
    assert len(source(server, tmp_path).shard(info.digest)) == info.bytes
    server.faults = ["corrupt"] * 9
    with pytest.raises(IntegrityError, match=info.digest):
        source(server, tmp_path / "other").shard(info.digest)
    assert len(server.requests) == 4
    assert [path for path in (tmp_path / "other").rglob("*") if path.is_file()] == [], "nothing is left behind"


def test_a_copy_that_rots_on_disk_is_fetched_again(made, server, tmp_path):
    store, dataset = made
    first = source(server, tmp_path)
    rows(ShardReader(first), dataset.manifest)
    path = tmp_path / "cache" / shard_name(dataset.manifest.shards[1].digest)
    for damaged in (path.read_bytes()[:-9], b"", path.read_bytes().replace(b"\xff", b"\xfe")):
        path.write_bytes(damaged)
        again = ShardReader(source(server, tmp_path))
        assert rows(again, dataset.manifest).equals(rows(ShardReader(store), dataset.manifest))


def test_giving_up_names_the_tries_and_the_reason(made, server, tmp_path):
    server.faults = [503] * 9
    with pytest.raises(TransportError, match=r"gave up after 3 tries.*503"):
        source(server, tmp_path, retries=2).shard(made[1].manifest.shards[0].digest)


def test_refusals_are_not_retried(made, server, tmp_path):
    with pytest.raises(NotFoundError, match="man_00"):
        source(server, tmp_path).manifest("man_00")
    wrong = HttpSource("http://winnow", "bad", tmp_path, transport=httpx.MockTransport(server))
    with pytest.raises(RequestError, match=r"no such key.*401"):
        wrong.manifest(made[1].manifest.id)
    assert len(server.requests) == 2


def test_a_changed_manifest_is_refused(made, server, tmp_path):
    server.faults = ["corrupt"]
    with pytest.raises(IntegrityError, match="not readable"):
        source(server, tmp_path).manifest(made[1].manifest.id)


def test_a_cache_too_small_for_a_shard_is_refused_at_construction(made, server, tmp_path):
    with pytest.raises(RequestError, match="cannot hold one shard"):
        source(server, tmp_path, cache_limit_bytes=100).manifest(made[1].manifest.id)
    for manifest in (made[1].manifest, made[1].manifest.id):
        with pytest.raises(RequestError, match="cannot hold one shard"):
            ShardStream(source(server, tmp_path, cache_limit_bytes=100), manifest)
        with pytest.raises(RequestError, match="cannot hold one shard"):
            ShardStream(made[0], manifest, cache_dir=tmp_path, cache_limit_bytes=100)
        with pytest.raises(RequestError, match="give cache_dir too"):
            ShardStream(made[0], manifest, cache_limit_bytes=10**9)


def test_a_remote_store_is_cached_and_its_own_files_are_never_deleted(made, tmp_path):
    store, dataset = made
    before = store.list()
    remote = RemoteStoreSource(store, tmp_path)
    assert rows(ShardReader(remote), dataset.manifest.id).num_rows == 200
    assert remote.discard(dataset.manifest.shards[0].digest) and not StoreSource(store).discard("x")
    assert store.list() == before


def test_opening(made, tmp_path):
    store, _ = made

    class Client:
        def shard_source(self, cache_dir=None, cache_limit_bytes=None):
            return StoreSource(store)

    assert isinstance(open_source(store.uri), StoreSource)
    assert isinstance(open_source(Client()), StoreSource)
    assert isinstance(open_source(Client(), tmp_path, 10**6), StoreSource)
    with pytest.raises(RequestError, match=r"give Client\('http://x'"):
        open_source("http://x")
    with pytest.raises(RequestError, match="cannot pull shards from a int"):
        open_source(3)


def test_a_source_travels_to_another_process(server, tmp_path):
    web = HttpSource("http://winnow", "key", tmp_path)
    web._http()
    assert pickle.loads(pickle.dumps(web)).base_url == "http://winnow"

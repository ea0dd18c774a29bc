"""Batches through shared memory: the same rows as through the pipe, and nothing left open or behind."""

import gc
import itertools
import os
import pickle
import random
from multiprocessing.reduction import ForkingPickler

import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, IterableDataset  # noqa: E402

from curator.client import shared  # noqa: E402
from curator.client.shard_stream import ShardStream  # noqa: E402
from curator.client.shared import Lender  # noqa: E402
from curator.errors import TransportError  # noqa: E402
from curator.storage import Store  # noqa: E402
from tests.curator.shards.dataset import write_dataset  # noqa: E402

needs_files_in_memory = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memfd_create")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store)


@pytest.fixture
def plain_pickling():
    """What a Lender registers belongs to a worker; this process gets its old ways back."""
    before = dict(ForkingPickler._extra_reducers)
    yield
    ForkingPickler._extra_reducers.clear()
    ForkingPickler._extra_reducers.update(before)


def stream(made):
    return ShardStream(made[0].uri, made[1].manifest.id, global_batch_size=12, num_epochs=4)


def loaded(made, **options):
    return list(DataLoader(stream(made), batch_size=None, num_workers=2, **options))


@pytest.mark.parametrize("can_share", [True, False])
def test_workers_give_the_same_batches_with_and_without_shared_memory(made, monkeypatch, can_share):
    if not can_share:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    expected = list(stream(made).iter_batches())
    found = loaded(made)
    assert found == expected
    assert [batch.schema.metadata for batch in found] == [batch.schema.metadata for batch in expected]
    assert [ShardStream.position(batch) for batch in found] == [12 * (n + 1) for n in range(len(found))]


def test_a_collate_function_in_the_worker_gets_a_record_batch(made):
    found = loaded(made, collate_fn=seen_in_worker)
    assert [kind for kind, _ in found] == ["RecordBatch"] * len(found)
    assert [batch for _, batch in found] == list(stream(made).iter_batches())


def seen_in_worker(batch):
    return type(batch).__name__, batch


def test_rows_outlive_the_workers_that_sent_them(made):
    found = loaded(made)
    gc.collect()
    assert found == list(stream(made).iter_batches())


@needs_files_in_memory
def test_a_lent_batch_is_sent_as_a_range_and_its_file_is_closed_once_read(made, plain_pickling):
    lender, rows = Lender(), next(stream(made).iter_batches())
    for _ in range(3):
        file = lender.share(rows)
        part = lender.lend(rows.slice(2, 5).replace_schema_metadata({b"a": b"1"}), file, 2)
        sent = ForkingPickler.dumps(part)
        assert len(sent) < 300
        got = pickle.loads(sent)
        assert got == rows.slice(2, 5) and got.schema.metadata == {b"a": b"1"}
        del got
    assert len(open_files()) == 1, "read files are closed when the next is made"


def open_files() -> list[str]:
    """This process's descriptors of shared files."""
    paths = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [path for path in paths if os.path.lexists(path) and "winnow-rows" in os.readlink(path)]


def test_what_was_not_lent_is_sent_without_its_neighbours(made, plain_pickling):
    Lender()
    rows = pa.record_batch({"text": ["x" * 1000] * 500})
    assert len(ForkingPickler.dumps(rows.slice(7, 2))) < 4000
    assert pickle.loads(ForkingPickler.dumps(rows.slice(7, 2))) == rows.slice(7, 2)


class Alternating(IterableDataset):
    """Two streams in one worker, batch by batch."""

    def __init__(self, one, other):
        self.streams = one, other

    def __iter__(self):
        for pair in itertools.zip_longest(*self.streams):
            yield from (batch for batch in pair if batch is not None)


class HeldBack(IterableDataset):
    """A shuffle buffer's shape: some batches wait while others pass."""

    def __init__(self, stream, most):
        self.stream, self.most = stream, most

    def __iter__(self):
        held, choose = [], random.Random(0)
        for batch in self.stream:
            held.append(batch)
            if len(held) > self.most:
                yield held.pop(choose.randrange(len(held)))
        yield from held


@pytest.mark.parametrize("kind", ["alternating", "held back", "held long"])
def test_batches_a_worker_sends_out_of_order_are_the_right_ones(made, monkeypatch, kind):
    monkeypatch.setattr("curator.client.windows.CHUNK_ROWS", 36)

    def dataset():
        one = stream(made)
        if kind == "alternating":
            return Alternating(one, ShardStream(made[0].uri, made[1].manifest.id, seed=7, global_batch_size=12))
        return HeldBack(one, 3 if kind == "held back" else shared.MAX_LENT + 9)

    assert list(DataLoader(dataset(), batch_size=None, num_workers=1)) == list(dataset())


@needs_files_in_memory
def test_a_descriptor_that_came_again_is_not_mistaken_for_another(plain_pickling):
    lender = Lender()
    first = lender.share(pa.record_batch({"n": [1, 2, 3]}))
    sent = ForkingPickler.dumps(lender.lend(pa.record_batch({"n": [1, 2, 3]}), first, 0))
    os.close(first.descriptor)
    shared._UNREAD.pop(first.descriptor)
    assert lender.share(pa.record_batch({"n": [4, 5, 6]})).descriptor == first.descriptor
    with pytest.raises(TransportError, match="it has closed them"):
        pickle.loads(sent)


@needs_files_in_memory
def test_a_worker_that_ended_before_it_was_read_is_an_error_that_says_so(made):
    with pytest.raises(TransportError, match=r"worker process 999999999.*Make a new DataLoader"):
        shared._borrowed(999_999_999, shared.SharedFile(3, 1, 100), 0, 1, None)

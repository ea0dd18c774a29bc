"""Under a DataLoader: the same order for any number of workers, exact resume, epochs reaching living workers."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, IterableDataset  # noqa: E402

from curator.client.shard_stream import ShardStream  # noqa: E402
from curator.errors import RequestError  # noqa: E402
from curator.storage import Store  # noqa: E402
from tests.curator.shards.dataset import write_dataset  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store)


def stream(made, **options):
    options = {"global_batch_size": 12, "num_epochs": 4, "columns": ["number"], **options}
    return ShardStream(made[0].uri, made[1].manifest.id, **options)


def numbers(batches):
    return [batch["number"].to_pylist() for batch in batches]


def test_it_is_an_iterable_dataset(made):
    assert isinstance(stream(made), IterableDataset)


def test_the_order_is_the_same_for_any_number_of_workers(made):
    one = stream(made)
    expected = numbers(one.iter_batches())
    for num_workers in (0, 1, 2):
        loader = DataLoader(one, batch_size=None, num_workers=num_workers)
        assert len(loader) == len(expected)
        assert numbers(loader) == expected


def test_resume_in_workers_takes_the_position_of_the_last_batch_used(made):
    one = stream(made)
    expected = numbers(one.iter_batches())
    loader = iter(DataLoader(one, batch_size=None, num_workers=2))
    used = [next(loader) for _ in range(5)]
    with pytest.raises(RequestError, match="run ahead"):
        one.state_dict()
    state = one.state_dict(samples=ShardStream.position(used[-1]))
    del loader
    other = stream(made)
    other.load_state_dict(state)
    assert numbers(used) + numbers(DataLoader(other, batch_size=None, num_workers=1)) == expected
    assert numbers(used) + numbers(DataLoader(other, batch_size=None)) == expected


def test_set_epoch_reaches_persistent_workers(made):
    one = stream(made)
    loader = DataLoader(one, batch_size=None, num_workers=2, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 3):
        one.set_epoch(epoch)
        seen.append(numbers(loader))
    for epoch, batches in zip((0, 1, 3), seen, strict=True):
        fresh = stream(made)
        fresh.set_epoch(epoch)
        assert batches == numbers(fresh.iter_batches())


CODE = """
import sys
from curator import ShardStream
stream = ShardStream({root!r}, {manifest!r}, global_batch_size=12, columns=["number"])
assert sum(b.num_rows for b in stream) > 0
assert "torch" not in sys.modules, "torch came in"
{then}
"""


@pytest.mark.parametrize("late", [False, True])
def test_without_torch_and_with_torch_too_late(made, late):
    then = "from torch.utils.data import DataLoader\nlist(DataLoader(stream, batch_size=None))" if late else ""
    code = CODE.format(root=made[0].uri, manifest=made[1].manifest.id, then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if late:
        assert "import torch before making the stream" in done.stderr
    else:
        assert done.returncode == 0, done.stderr

"""Packed epochs: batch by batch what the plan gathers, for every rank, from every position, read once in sequence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.client.packing import Pack, pack
from curator.client.shard_stream import ShardStream
from curator.epochs.adaptive import Losses
from curator.errors import ConflictError, IntegrityError, NotFoundError, RequestError
from curator.shards import Manifest, Override, ShardReader, StoreSource, override
from curator.shards.layout import shard_name
from curator.storage import Store
from tests.curator.shards.dataset import sample_id, write_dataset

BATCH = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    dataset = write_dataset(store)
    changes = [Override(sample_id=sample_id(n).hex(), action="relabel", label=7) for n in (3, 4, 90)]
    return store, override(dataset.manifest, store, changes)


def stream(made, **options):
    return ShardStream(made[0], made[1], **{"global_batch_size": BATCH, "num_epochs": 3, **options})


def packed(made, one, epoch, **options) -> Pack:
    return pack(one.plan, made[1], ShardReader(made[0]), made[0], epoch, **{"batch_rows": 30, **options})


@given(
    st.fixed_dictionaries(
        {
            "shuffle": st.sampled_from(["full", "window", "none"]),
            "tail": st.sampled_from(["drop", "pad", "short"]),
            "epoch_size": st.sampled_from([None, 5, 130, 700]),
            "columns": st.sampled_from([None, ["number"], ["label", "text"], ["sample_id"]]),
            "seed": st.integers(0, 2),
        }
    ),
    st.sampled_from([1, 2, 3, 12]),
    st.data(),
)
@settings(max_examples=40, deadline=None)
def test_a_packed_epoch_equals_the_gathered_one(made, options, world_size, data):
    rank = data.draw(st.integers(0, world_size - 1))
    options = {**options, "rank": rank, "world_size": world_size}
    try:
        one = stream(made, **options)
    except RequestError as error:
        assert "would be empty" in str(error)  # five rows and tail=drop
        return
    packed(made, one, 1, target_bytes=data.draw(st.sampled_from([1500, 10**6])))
    two = stream(made, packed=True, **options)
    state = {**one.state_dict(), "epoch": 1}
    state["samples"] = min(BATCH * data.draw(st.integers(0, len(one))), one.plan.num_positions(1))
    for each in (one, two):
        each.load_state_dict(state)
    expected, found = list(one), list(two)
    assert [masked(batch) for batch in found] == [masked(batch) for batch in expected]
    assert [batch.schema for batch in found] == [batch.schema for batch in expected]
    assert [batch.schema.metadata for batch in found] == [batch.schema.metadata for batch in expected]


def masked(batch) -> list[dict | None]:
    """Its rows; None for padding, whose content is any row's."""
    return [None if row["difficulty"] is None else row for row in batch.to_pylist()]


class Counting(StoreSource):
    """Notes which shards are asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.asked: list[str] = []

    def shard(self, digest):
        self.asked.append(digest)
        return super().shard(digest)


def test_shards_are_read_once_and_in_sequence(made):
    one = stream(made)
    record = packed(made, one, 0, target_bytes=1500)
    shards = [info.digest for info in Manifest.load(made[0], record.manifest).shards]
    assert len(shards) > 5
    source = Counting(made[0])
    list(ShardStream(source, made[1], global_batch_size=BATCH, num_epochs=3, packed=True))
    assert source.asked == shards


def test_packing_again_gives_the_same_record(made):
    one = stream(made, seed=5)
    first = packed(made, one, 2)
    before = made[0].list()
    assert packed(made, one, 2) == first == Pack.load(made[0], one.plan, 2)
    assert made[0].list() == before


def test_what_is_not_this_plans_pack_is_refused(made, tmp_path):
    one = stream(made, seed=8)
    with pytest.raises(NotFoundError, match=r"epoch 0 of epl_.* is not packed"):
        next(iter(stream(made, seed=8, packed=True)))
    with pytest.raises(ConflictError, match="is a plan of"):
        pack(one.plan, made[1].model_copy(update={"parent": None}), ShardReader(made[0]), made[0], 0)
    record = packed(made, one, 0)
    name = f"packs/{one.plan.id}/000000.json"
    made[0].write_bytes(name, record.model_copy(update={"epoch_id": "epo_other"}).model_dump_json().encode())
    with pytest.raises(ConflictError, match="other ratios were recorded"):
        Pack.load(made[0], one.plan, 0)
    made[0].write_bytes(name, b"{")
    with pytest.raises(IntegrityError, match="Pack the epoch again"):
        Pack.load(made[0], one.plan, 0)

    class Server:
        def manifest(self, manifest_id): ...
        def shard(self, digest): ...
        def index(self, digest): ...
        def discard(self, digest): ...

    with pytest.raises(RequestError, match="from a root or a server, not from a Server"):
        next(iter(ShardStream(Server(), made[1], global_batch_size=BATCH, packed=True)))


def test_an_adaptive_epoch_is_packed_under_its_ratios(made):
    one = stream(made, curriculum="adaptive")
    one.record(Losses(easy=1, medium=1, hard=1))
    one.record(Losses(easy=1, medium=1, hard=0.4))
    packed(made, one, 2)
    two = stream(made, curriculum="adaptive", packed=True)
    two.load_state_dict({**one.state_dict(), "epoch": 2})
    one.set_epoch(2)
    assert [batch.to_pydict() for batch in two] == [batch.to_pydict() for batch in one]
    other = stream(made, curriculum="adaptive", packed=True)
    for losses in (Losses(easy=1, medium=1, hard=1), Losses(easy=0.2, medium=1, hard=1)):
        other.record(losses)
    other.set_epoch(2)
    with pytest.raises(ConflictError, match="other ratios"):
        next(iter(other))


def test_a_flipped_bit_is_named(tmp_path):
    store = Store.open(tmp_path)
    manifest = write_dataset(store).manifest
    one = stream((store, manifest))
    record = packed((store, manifest), one, 0, target_bytes=1500)
    info = Manifest.load(store, record.manifest).shards[2]
    raw = bytearray(store.read_bytes(shard_name(info.digest)))
    raw[info.batch_offsets[0] + 30] ^= 1
    store.write_bytes(shard_name(info.digest), bytes(raw))
    two = iter(stream((store, manifest), packed=True))
    good = []
    with pytest.raises(IntegrityError, match=f"{info.digest}, offset {info.batch_offsets[0]}"):
        for batch in two:
            good.append(batch.column("number").to_pylist())
    expected = [batch.column("number").to_pylist() for batch in one]
    assert good == expected[: len(good)] and len(good) < len(expected)
    assert np.concatenate(good).size % BATCH == 0

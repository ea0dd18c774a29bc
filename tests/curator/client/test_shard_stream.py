"""The stream: exactly the epoch, in one order for every world size, worker count and resumption."""

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.client.shard_stream import ShardStream, _ahead, pull
from curator.client.sources import StoreSource
from curator.client.windows import AHEAD
from curator.errors import ConflictError, RequestError
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset

BATCH = 12


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """An epoch has many chunks, and their slots are worked out some at a time, as in an epoch of real size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator.client.windows.CHUNK_ROWS", 40)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store)


def stream(made, **options):
    options = {"global_batch_size": BATCH, "num_epochs": 4, "columns": ["number"], **options}
    return ShardStream(made[0], made[1].manifest.id, **options)


def numbers(batches) -> list[int]:
    return [n for batch in batches for n in batch["number"].to_pylist()]


def across_ranks(made, world_size, **options) -> list[int]:
    """The global order put together from every rank's slices."""
    ranks = [stream(made, rank=r, world_size=world_size, **options) for r in range(world_size)]
    for one in ranks:
        one.set_epoch(options.get("epoch", 1))
    return [n for parts in zip(*ranks, strict=True) for n in numbers(parts)]


OPTIONS = {
    "shuffle": st.sampled_from(["full", "window", "none"]),
    "tail": st.sampled_from(["drop", "short"]),
    "curriculum": st.sampled_from(["staged", "linear", "constant"]),
    "epoch_size": st.sampled_from([None, 130, 700]),
    "seed": st.integers(0, 3),
}


@given(**OPTIONS)
@settings(max_examples=25, deadline=None)
def test_the_union_of_ranks_is_the_epoch_whatever_the_world_size(made, **options):
    whole = across_ranks(made, 1, **options)
    for world_size in (2, 3, 4, 12):
        assert across_ranks(made, world_size, **options) == whole
    if options["epoch_size"] is None:
        assert len(set(whole)) == len(whole)


@given(**OPTIONS)
@settings(max_examples=15, deadline=None)
def test_rows_are_those_of_the_plan(made, **options):
    """What the stream yields is what the formula says, row by row, with the difficulty it says."""
    from curator.difficulty import NAMES
    from curator.epochs.locate import Locator
    from curator.shards import ShardReader

    one = stream(made, **options)
    one.set_epoch(2)
    plan, manifest, reader = one.plan, one.manifest, ShardReader(made[0])
    found = plan.positions(2, 0, plan.num_positions(2))
    order = "sample_id" if plan.shuffle == "full" else "row"
    locator = Locator(manifest, lambda shard: reader.open(manifest, shard).index, order)
    places = [locator.places(int(d), np.array([k]))[0] for d, k in zip(*found, strict=True)]
    expected = reader.take(manifest, np.array(places), ["number"])["number"].to_pylist()
    batches = list(one)
    assert numbers(batches) == expected
    assert [d for b in batches for d in b["difficulty"].to_pylist()] == [NAMES[d] for d in found.difficulty]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_resume_again_and_again_with_another_world_size(made, data):
    """Stop anywhere, three times in a row, each time on another number of ranks: nothing lost, nothing twice."""
    options = {name: data.draw(OPTIONS[name]) for name in ("shuffle", "tail", "curriculum", "seed")}
    whole = across_ranks(made, 1, **options)
    seen: list[int] = []
    state = None
    for _ in range(3):
        world_size = data.draw(st.sampled_from([1, 2, 3, 4, 6, 12]))
        ranks = [stream(made, **options, rank=r, world_size=world_size) for r in range(world_size)]
        for one in ranks:
            one.set_epoch(1)
            if state is not None:
                one.load_state_dict(state)
                one.set_epoch(1)  # a training loop says so again
        steps = data.draw(st.integers(0, 8))
        running = [iter(one) for one in ranks]
        for _ in range(steps):
            parts = [next(it, None) for it in running]
            seen += numbers(part for part in parts if part is not None)
        states = [one.state_dict() for one in ranks]
        assert all(s == states[0] for s in states)
        state = states[0]
        assert state["samples"] == len(seen)
    last = stream(made, **options)
    last.load_state_dict(state)
    assert seen + numbers(last) == whole


class Counted(StoreSource):
    """A root that remembers which shards it was asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.asked = set()

    def shard(self, digest):
        self.asked.add(digest)
        return super().shard(digest)


def test_resuming_late_reads_nothing_of_what_came_before(made):
    options = {"shuffle": "none", "curriculum": "constant", "scratch_bytes": 0}
    whole = Counted(made[0])
    expected = list(stream((whole, made[1]), **options).iter_batches())
    late = Counted(made[0])
    one = stream((late, made[1]), **options)
    one.load_state_dict({**one.state_dict(), "samples": ShardStream.position(expected[-2])})
    assert numbers(one) == numbers(expected[-1:])
    assert 0 < len(late.asked) <= 4 < len(whole.asked), "one or two for each difficulty"


class Draft:
    def __init__(self):
        self.begun = threading.Event()

    def chunk(self):
        self.begun.set()
        return self


def test_the_next_chunk_is_put_together_while_one_is_used():
    drafts = [Draft() for _ in range(9)]
    chunks = _ahead(iter(drafts))
    for number in range(3):
        assert next(chunks) is drafts[number]
        assert all(draft.begun.wait(30) for draft in drafts[number + 1 : number + AHEAD])
    assert not any(draft.begun.is_set() for draft in drafts[3 + AHEAD :]), "and no more: memory is bounded"
    assert list(chunks) == drafts[3:]


@given(st.fixed_dictionaries({k: OPTIONS[k] for k in ("shuffle", "tail", "curriculum", "seed")}), st.data())
@settings(max_examples=20, deadline=None)
def test_no_row_comes_back_before_its_difficulty_is_exhausted(made, options, data):
    """Over all epochs, each resumed once in the middle on another number of ranks."""
    rows: dict[str, list[int]] = {"easy": [], "medium": [], "hard": []}
    for epoch in range(4):
        state = None
        for stop in (data.draw(st.integers(1, 5)), 10**6):
            world_size = data.draw(st.sampled_from([1, 2, 3, 4, 6, 12]))
            ranks = [stream(made, **options, rank=r, world_size=world_size) for r in range(world_size)]
            for one in ranks:
                one.load_state_dict(state or {**one.state_dict(), "epoch": epoch})
            running = [iter(one) for one in ranks]
            for _ in range(stop):
                parts = [next(it, None) for it in running]
                if parts[0] is None:
                    break
                for part in parts:
                    for number, name in zip(part["number"].to_pylist(), part["difficulty"].to_pylist(), strict=True):
                        rows[name].append(number)
            state = ranks[0].state_dict()
    for name, live in zip(("easy", "medium", "hard"), made[1].manifest.live, strict=True):
        for begin in range(0, len(rows[name]), live):
            one_pass = rows[name][begin : begin + live]
            assert len(set(one_pass)) == len(one_pass)


def test_a_state_taken_twice_is_the_same_and_round_trips(made):
    one = stream(made)
    running = iter(one)
    next(running)
    state = one.state_dict()
    other = stream(made)
    other.load_state_dict(state)
    assert one.state_dict() == other.state_dict() == state == {
        "version": 1, "plan": one.plan.id, "manifest": one.manifest.id, "epoch": 0, "samples": BATCH,
    }  # fmt: skip
    rest = numbers(running)
    assert numbers(other) == rest == numbers(other)
    other.set_epoch(3)
    assert other.state_dict()["samples"] == 0


def test_a_cursor_of_another_plan_is_refused(made):
    state = stream(made).state_dict()
    with pytest.raises(ConflictError, match="cursor of epl_"):
        stream(made, seed=1).load_state_dict(state)
    with pytest.raises(ConflictError, match="no end of a global batch"):
        stream(made).load_state_dict({**state, "samples": 5})
    with pytest.raises(ConflictError, match="version 2"):
        stream(made).load_state_dict({**state, "version": 2})
    with pytest.raises(RequestError, match="epoch 9"):
        stream(made).load_state_dict({**state, "epoch": 9})


def test_every_batch_keeps_the_ratio_and_epochs_differ(made):
    one = stream(made, global_batch_size=20, columns=["number"])
    seen = []
    for epoch, ratios in enumerate([(0.7, 0.2, 0.1), (0.7, 0.2, 0.1), (0.2, 0.5, 0.3), (0.1, 0.3, 0.6)]):
        one.set_epoch(epoch)
        batches = list(one)
        assert len(batches) == len(one) > 0
        for batch in batches:
            names = batch["difficulty"].to_pylist()
            for name, ratio in zip(("easy", "medium", "hard"), ratios, strict=True):
                assert abs(names.count(name) - 20 * ratio) <= 1
        seen.append(numbers(batches))
    assert len({tuple(order) for order in seen}) == 4


def test_padding_is_marked(made):
    one = stream(made, tail="pad", epoch_size=BATCH + 5)
    batches = list(one)
    assert [batch.num_rows for batch in batches] == [BATCH, BATCH]
    assert batches[1]["difficulty"].null_count == BATCH - 5 and batches[0]["difficulty"].null_count == 0
    quarters = [list(stream(made, tail="pad", epoch_size=BATCH + 5, rank=r, world_size=4)) for r in range(4)]
    assert [[b.num_rows for b in q] for q in quarters] == [[3, 3]] * 4
    assert sum(q[1]["difficulty"].null_count for q in quarters) == BATCH - 5


def test_short_tail_is_shared_among_ranks(made):
    sizes = [[b.num_rows for b in stream(made, tail="short", epoch_size=17, rank=r, world_size=4)] for r in range(4)]
    assert [len(s) for s in sizes] == [2] * 4 and sum(map(sum, sizes)) == 17


@given(st.integers(0, 228), st.sampled_from([1, 2, 4]), OPTIONS["shuffle"])
@settings(max_examples=25, deadline=None)
def test_pull_from_any_position(made, position, world_size, shuffle):
    options = {"num_epochs": 4, "global_batch_size": BATCH, "columns": ["number"], "shuffle": shuffle}
    for rank in range(world_size):
        part = {**options, "rank": rank, "world_size": world_size}
        whole = numbers(pull(made[0], made[1].manifest, 1, **part))
        assert whole == numbers(stream_epoch(made, 1, **part))
        share = BATCH // world_size
        places = [g * BATCH + rank * share + i for g in range(len(whole) // share) for i in range(share)]
        rest = numbers(pull(made[0], made[1].manifest, 1, **part, from_position=position))
        assert rest == [n for n, place in zip(whole, places, strict=True) if place >= position]


def stream_epoch(made, epoch, **options):
    one = stream(made, **options)
    one.set_epoch(epoch)
    return list(one)


def test_columns_and_a_column_named_difficulty(made, tmp_path):
    batch = next(iter(stream(made, columns=None)))
    assert batch.schema.names == ["number", "text", "label", "label_before", "sample_id", "difficulty"]
    assert ShardStream.position(batch) == BATCH and batch.schema.metadata[b"winnow.epoch"] == b"0"
    from curator.client.windows import difficulty_column

    assert difficulty_column(["text", "difficulty"]) == "curriculum_difficulty"


def test_requests_that_cannot_be_met(made):
    for options, word in [
        ({"rank": 0, "world_size": 5}, "does not divide"),
        ({"rank": 4, "world_size": 4}, "outside 0 to 3"),
        ({"rank": 1}, "both or neither"),
        ({"global_batch_size": 10_000}, "would be empty"),
        ({"curriculum": "random"}, "Known: staged"),
        ({"num_epochs": 0}, "num_epochs"),
    ]:
        with pytest.raises(RequestError, match=word):
            stream(made, **options)
    with pytest.raises(RequestError, match="epoch 4"):
        stream(made).set_epoch(4)
    with pytest.raises(RequestError, match="position 99999"):
        pull(made[0], made[1].manifest, 0, from_position=99_999)


def test_rank_comes_from_the_launcher(made, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    one = stream(made)
    assert (one.rank, one.world_size) == (2, 4)


def test_a_transform_is_applied(made):
    assert next(iter(stream(made, transform=lambda batch: batch.num_rows))) == BATCH


def test_a_relabelled_row_is_served_with_its_new_label(made):
    from curator.shards import Override, override

    store, dataset = made
    ids = dict(zip(dataset.kept["number"].to_pylist(), dataset.kept["sample_id"].to_pylist(), strict=True))
    child = override(dataset.manifest, store, [Override(sample_id=ids[7].hex(), action="relabel", label=77)])
    rows = pa.Table.from_batches(pull(store, child, 0, num_epochs=1, curriculum="constant", epoch_size=504)).to_pylist()
    assert {row["label"] for row in rows if row["number"] == 7} == {77}


def test_an_adaptive_stream_learns_and_its_state_holds_the_journal(made):
    from curator.epochs.adaptive import Losses

    def taught(one, epochs):
        for epoch in range(epochs):
            one.set_epoch(epoch)
            rows = [name for batch in one for name in batch["difficulty"].to_pylist()]
            one.record(Losses.of_rows(rows, [0.8**epoch if name == "hard" else 1.0 for name in rows]))
        one.set_epoch(epochs)
        return one

    one = taught(stream(made, curriculum="adaptive"), 3)
    assert one.plan.ratios(3).hard > one.plan.ratios(0).hard
    expected = numbers(one)
    state = one.state_dict()
    for _ in range(2):  # a state round-trips twice in a row
        other = stream(made, curriculum="adaptive")
        with pytest.raises(ConflictError, match="not decided yet"):
            other.set_epoch(3)
        other.load_state_dict({**state, "samples": 0})
        assert numbers(other) == expected and other.state_dict() == one.state_dict()
        state = other.state_dict()
    with pytest.raises(RequestError, match="takes no losses"):
        stream(made).record(Losses())


def test_another_manifest_is_adopted_between_epochs_only(made, tmp_path):
    other = write_dataset(made[0], kept=400, seed=1).manifest
    one = stream(made)
    assert not one.adopt(made[1].manifest.id)
    batches = one.iter_batches()
    next(batches)
    with pytest.raises(ConflictError, match=f"position {BATCH}"):
        one.adopt(other)
    list(batches)
    scratch = one._kept.scratch.folder
    assert any(scratch.glob("*.arrow"))
    assert one.adopt(other.id)
    assert not scratch.exists(), "it keeps what it has for good, which would be the old manifest's"
    one.set_epoch(1)
    direct = stream((made[0], type(made[1])(other, None, None)))
    direct.set_epoch(1)
    assert numbers(one.iter_batches()) == numbers(direct.iter_batches())
    assert one.state_dict()["manifest"] == other.id
    with pytest.raises(RequestError, match="journal"):
        stream(made, curriculum="adaptive").adopt(other)


def test_a_worker_that_outlived_an_adoption_refuses(made):
    other = write_dataset(made[0], kept=400, seed=1).manifest
    one = stream(made)
    one._cursor[3] = 1  # what it shares with the process that adopted
    with pytest.raises(ConflictError, match="DataLoader anew"):
        next(one.iter_batches())
    assert one.adopt(other)
    assert next(one.iter_batches()).num_rows == BATCH

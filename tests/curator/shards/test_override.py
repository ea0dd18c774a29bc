"""Overrides: any verdict overturned and back again, shards untouched."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import NotFoundError, RequestError
from curator.shards import Manifest, Override, ShardReader, ShardWriter, override
from curator.storage import Store
from tests.curator.shards.dataset import sample_id, write_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("root"))
    return store, write_dataset(store)


def change(number, action, label=None, difficulty=None):
    return Override(sample_id=sample_id(number).hex(), action=action, label=label, difficulty=difficulty)


def read(store, manifest):
    rows = pa.Table.from_batches(ShardReader(store).iter_batches(manifest)).to_pylist()
    return {row["number"]: (row["label"], row["label_before"]) for row in rows}


def files(store):
    return {name: store.read_bytes(name) for name in store.list("shards")}


def test_drop_keep_and_relabel(made):
    store, dataset = made
    before, shards = read(store, dataset.manifest), files(store)
    child = override(
        dataset.manifest,
        store,
        [
            change(1, "drop"),
            change(505, "keep"),
            change(2, "relabel", 7),
            change(20, "keep"),
            change(510, "relabel", 5),
        ],
    )
    expected = dict(before)
    del expected[1]
    expected[505] = (505 % 3, None)
    expected[2] = (7, 2)
    expected[20] = (9, None)  # the policy had relabelled it from 9; a person says the given label is right
    expected[510] = (5, 9)
    assert read(store, child) == expected
    assert (child.parent, child.num_live) == (dataset.manifest.id, 501)
    assert files(store) == shards
    assert Manifest.load(store, child.id) == child
    assert read(store, dataset.manifest) == before
    assert sum(info.num_relabeled for info in child.shards) == 3


def test_relabel_to_the_given_label_or_to_the_stored_one(made):
    store, dataset = made
    child = override(
        dataset.manifest, store, [change(4, "relabel", 1), change(30, "relabel", 9), change(40, "relabel", 1)]
    )
    labels = read(store, child)
    assert (labels[4], labels[30], labels[40]) == ((1, None), (9, None), (1, 9))
    assert sum(info.num_relabeled for info in child.shards) == 1


NUMBERS = st.lists(st.integers(0, 559), min_size=1, max_size=8, unique=True)


@given(NUMBERS)
@settings(max_examples=25, deadline=None)
def test_drop_then_keep_restores_every_index(made, numbers):
    store, dataset = made
    kept = [n for n in numbers if n < 500 and n % 10]
    if kept:
        dropped = override(dataset.manifest, store, [change(n, "drop") for n in kept])
        assert set(read(store, dropped)) == set(range(500)) - set(kept)
        back = override(dropped, store, [change(n, "keep") for n in kept])
        assert back.shards == dataset.manifest.shards
        assert back.id != dataset.manifest.id


@given(st.lists(st.tuples(st.integers(0, 559), st.sampled_from(["keep", "drop", "relabel"])), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_any_sequence_ends_as_its_last_word(made, changes):
    store, dataset = made
    manifest, expected = dataset.manifest, read(store, dataset.manifest)
    for number, action in changes:
        given = 9 if number % 10 == 0 else number % 3
        manifest = override(manifest, store, [change(number, action, 4 if action == "relabel" else None)])
        expected.pop(number, None)
        if action != "drop":
            expected[number] = (4, given) if action == "relabel" else (given, None)
    assert read(store, manifest) == expected
    assert manifest.num_live == len(expected)


def test_difficulty_of_a_revived_row(made):
    store, dataset = made
    easy, medium, hard = dataset.manifest.live
    assert override(dataset.manifest, store, [change(505, "keep")]).live == (easy, medium + 1, hard)
    child = override(dataset.manifest, store, [change(505, "keep", difficulty="hard")])
    assert child.live == (easy, medium, hard + 1)
    again = override(override(child, store, [change(505, "drop")]), store, [change(505, "keep")])
    assert again.live == (easy, medium, hard + 1)


def test_what_cannot_be_is_refused(made):
    store, dataset = made
    with pytest.raises(NotFoundError, match=sample_id(10**6).hex()):
        override(dataset.manifest, store, [change(10**6, "drop")])
    with pytest.raises(RequestError, match="more than once"):
        override(dataset.manifest, store, [change(1, "drop"), change(1, "keep")])
    with pytest.raises(RequestError, match="at least one"):
        override(dataset.manifest, store, [])
    with pytest.raises(RequestError, match="is no int64"):
        override(dataset.manifest, store, [change(1, "relabel", "cat")])
    with pytest.raises(RequestError, match="is no int64"):
        override(dataset.manifest, store, [change(1, "relabel", 1.5)])
    with pytest.raises(RequestError, match="only a relabel"):
        override(dataset.manifest, store, [change(1, "relabel")])


@pytest.mark.parametrize(
    ("labels", "wrong", "right"),
    [
        (pa.array(["a", None]), [3, True], "b"),
        (pa.array([1, None], pa.int8()), ["1", True, 300], 2),
        (pa.array([True, None]), [1, "true"], False),
    ],
)
def test_a_row_without_a_label_needs_one_of_the_columns_kind(tmp_path, labels, wrong, right):
    """Nothing becomes a text that was a number; `keep` has no label to restore where none was given."""
    store = Store.open(tmp_path)
    ids = pa.array([sample_id(0), sample_id(1)], pa.binary(16))
    table = pa.table({"label": labels, "label_before": pa.nulls(2, labels.type), "sample_id": ids})
    writer = ShardWriter(store, table.schema, target_bytes=4000, quarantine=True)
    writer.write(table.to_batches()[0])
    manifest = Manifest.of(table.schema, writer.close(), label="label", recipe_digest="0" * 64, dataset_version="test")
    manifest.save(store)
    for label in wrong:
        with pytest.raises(RequestError, match=rf"label {label!r} is no {labels.type}"):
            override(manifest, store, [change(1, "relabel", label)])
    with pytest.raises(RequestError, match="no label to be kept with: relabel it"):
        override(manifest, store, [change(1, "keep")])
    child = override(manifest, store, [change(1, "relabel", right), change(0, "keep")])
    live = pa.Table.from_batches(ShardReader(store).iter_batches(child)).to_pylist()
    assert {row["sample_id"]: row["label"] for row in live} == {sample_id(0): labels[0].as_py(), sample_id(1): right}

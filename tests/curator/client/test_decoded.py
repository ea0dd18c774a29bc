"""Uncompressed copies: the same rows, checked like shards, made again when damaged."""

import os
import time

import pytest

from curator.client.decoded import UNUSED_S, DecodedCopies
from curator.client.shard_stream import ShardStream
from curator.errors import IntegrityError
from curator.shards import Override, ShardReader, override
from curator.shards.layout import shard_name
from curator.storage import Store
from tests.curator.shards.dataset import sample_id, write_dataset


@pytest.fixture
def made(tmp_path):
    store = Store.open(tmp_path / "root")
    return store, write_dataset(store, kept=200)


def rows(reader, manifest):
    return [batch.to_pydict() for batch in reader.iter_batches(manifest)]


def test_a_stream_with_copies_equals_one_without(made, tmp_path):
    store, dataset = made
    for _ in range(2):
        streams = [
            ShardStream(store, dataset.manifest, global_batch_size=10, cache_dir=where)
            for where in (None, tmp_path / "cache")
        ]
        plain, copied = ([batch.to_pydict() for batch in stream] for stream in streams)
        assert plain == copied
    live = [info for info in dataset.manifest.shards if not info.quarantine]
    list(ShardReader(store, copies=DecodedCopies(tmp_path / "cache")).iter_batches(dataset.manifest))
    names = sorted(path.name for path in (tmp_path / "cache" / "decoded").rglob("*.*"))
    assert names == sorted(f"{info.digest}.{end}" for info in live for end in ("arrow", "json"))


def test_labels_changed_later_are_overlaid_on_an_old_copy(made, tmp_path):
    store, dataset = made
    copies = DecodedCopies(tmp_path)
    rows(ShardReader(store, copies=copies), dataset.manifest)
    child = override(dataset.manifest, store, [Override(sample_id=sample_id(3).hex(), action="relabel", label=8)])
    again = rows(ShardReader(store, copies=copies), child)
    assert again == rows(ShardReader(store), child)
    assert {8} == {row for batch in again for row in batch["label"] if row > 2}


@pytest.mark.parametrize("damage", ["batch", "frame", "cut", "note", "no data"])
def test_a_damaged_copy_is_made_again(made, tmp_path, damage):
    store, dataset = made
    expected = rows(ShardReader(store), dataset.manifest)
    rows(ShardReader(store, copies=DecodedCopies(tmp_path)), dataset.manifest)
    data, note = (sorted(tmp_path.glob(f"decoded/*/*/*.{end}"))[0] for end in ("arrow", "json"))
    raw = bytearray(data.read_bytes())
    if damage in ("batch", "frame"):
        raw[len(raw) // 2 if damage == "batch" else 20] ^= 1
        data.write_bytes(raw)
    elif damage == "cut":
        data.write_bytes(raw[:100])
    elif damage == "note":
        note.write_text("{")
    else:
        data.unlink()
    assert rows(ShardReader(store, copies=DecodedCopies(tmp_path)), dataset.manifest) == expected


def test_a_copy_is_never_made_of_a_damaged_shard(made, tmp_path):
    store, dataset = made
    info = dataset.manifest.shards[0]
    raw = bytearray(store.read_bytes(shard_name(info.digest)))
    raw[info.batch_offsets[1] + 50] ^= 1
    store.write_bytes(shard_name(info.digest), bytes(raw))
    with pytest.raises(IntegrityError, match=f"{info.digest}, offset {info.batch_offsets[1]}"):
        rows(ShardReader(store, copies=DecodedCopies(tmp_path)), dataset.manifest)
    assert list(tmp_path.glob("decoded/*/*/*")) == []


def held_bytes(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.arrow"))


def test_copies_stay_within_a_limit_and_the_other_shards_are_decoded(made, tmp_path):
    store, dataset = made
    expected = rows(ShardReader(store), dataset.manifest)
    rows(ShardReader(store, copies=DecodedCopies(tmp_path / "all")), dataset.manifest)
    limit = held_bytes(tmp_path / "all") // 2
    some = tmp_path / "some"
    assert rows(ShardReader(store, copies=DecodedCopies(some, limit_bytes=limit)), dataset.manifest) == expected
    kept = {path: path.stat().st_mtime_ns for path in some.rglob("*.json")}
    assert limit // 2 < held_bytes(some) <= limit
    assert rows(ShardReader(store, copies=DecodedCopies(some, limit_bytes=limit)), dataset.manifest) == expected
    assert {path: path.stat().st_mtime_ns for path in some.rglob("*.json")} == kept, "copies do not push each other out"
    assert not list(some.rglob("*.tmp"))


def test_copies_nobody_opened_for_long_make_room(made, tmp_path):
    (store, dataset), folder = made, tmp_path / "copies"
    first, last = dataset.manifest.shards[0], dataset.manifest.shards[1]
    copies = DecodedCopies(folder)
    ShardReader(store, copies=copies).open(dataset.manifest, 0)
    limit = held_bytes(folder) * 3 // 2
    data = next(folder.rglob(f"{first.digest}.arrow"))
    assert not ShardReader(store, copies=DecodedCopies(folder, limit_bytes=limit)).open(dataset.manifest, 1).mapped
    assert data.exists()
    os.utime(data, (time.time() - 2 * UNUSED_S,) * 2)
    assert ShardReader(store, copies=DecodedCopies(folder, limit_bytes=limit)).open(dataset.manifest, 1).mapped
    assert [path.stem for path in folder.rglob("*.arrow")] == [last.digest]


def test_two_writers_that_took_the_last_room_together_both_step_back(made, tmp_path, monkeypatch):
    (store, dataset), folder = made, tmp_path / "copies"
    folder.mkdir()
    other = folder / "other.arrow"
    rows_before = rows(ShardReader(store), dataset.manifest)
    copies = DecodedCopies(folder, limit_bytes=10_000)
    write = os.replace

    def replaced(source, target):
        write(source, target)
        other.write_bytes(b"x" * 10_000)

    monkeypatch.setattr("curator.client.decoded.os.replace", replaced)
    assert rows(ShardReader(store, copies=copies), dataset.manifest) == rows_before
    assert [path.name for path in folder.rglob("*.arrow")] == ["other.arrow"]

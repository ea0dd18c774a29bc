"""Projections: equal bytes for equal columns, within a bound, never made of a damaged shard."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from api.projections import Projections
from curator.errors import InputError, IntegrityError
from curator.shards.layout import shard_name
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, list[str]]:
    store = Store.open(tmp_path / "root")
    return store, [info.digest for info in write_dataset(store).manifest.shards]


def projected(projections: Projections, store: Store, digest: str, *columns: str) -> Any:
    return projections.of(store, shard_name(digest), digest, columns)


def test_equal_columns_are_one_file_and_other_folders_make_the_same(made: Any, tmp_path: Path) -> None:
    store, digests = made
    folders = [Projections(tmp_path / name, 2**20) for name in "ab"]
    first, second = (projected(one, store, digests[0], "number", "text") for one in folders)
    assert first == second == projected(folders[0], store, digests[0], "text", "number")
    assert len(list((tmp_path / "a").glob("*/*"))) == 1
    rows = pa.ipc.open_file(folders[0].store.read_bytes(first.name)).read_all()
    assert rows.column_names == ["number", "text"]


def test_the_least_recently_used_make_room(made: Any, tmp_path: Path) -> None:
    store, digests = made
    size = projected(Projections(tmp_path / "probe", 2**20), store, digests[0], "number").bytes
    bounded = Projections(tmp_path / "bounded", 3 * size)
    for digest in digests[:8]:
        found = projected(bounded, store, digest, "number")
        assert bounded.store.exists(found.name)
        held = [place.stat().st_size for place in (tmp_path / "bounded").glob("*/*")]
        assert sum(held) <= 3 * size
    assert projected(bounded, store, digests[0], "number").bytes == size, "what was forgotten is made again"


def test_a_damaged_shard_is_not_projected(made: Any, tmp_path: Path) -> None:
    store, digests = made
    raw = bytearray(store.read_bytes(shard_name(digests[0])))
    raw[len(raw) // 2] ^= 1
    store.write_bytes(shard_name(digests[0]), bytes(raw))
    projections = Projections(tmp_path / "p", 2**20)
    with pytest.raises(IntegrityError, match=digests[0]):
        projected(projections, store, digests[0], "number")
    with pytest.raises(InputError, match="'colour'"):
        projected(projections, store, digests[1], "number", "colour")
    assert list((tmp_path / "p").glob("*/*")) == []


def test_many_at_once_get_the_same(made: Any, tmp_path: Path) -> None:
    store, digests = made
    projections, found = Projections(tmp_path / "p", 2**20), []
    threads = [
        threading.Thread(target=lambda: found.append(projected(projections, store, digests[0], "text")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1

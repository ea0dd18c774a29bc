"""Inputs at an object-store address: listing, globs and reading go through the store's filesystem."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.fs as pafs
import pytest

from curator.errors import InputError
from curator.readers import discover, plan_inputs, read
from curator.storage import Store


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[pafs.FileSystem]:
    """`mock://` addresses answered by Arrow's in-memory filesystem."""
    filesystem = pafs._MockFileSystem()
    for folder in ("bucket/data/sub", "bucket/empty"):
        filesystem.create_dir(folder)
    for name, data in {
        "bucket/data/b.jsonl": b'{"a": 1}\n{"a": 2}\n',
        "bucket/data/a.csv": b"a\n3\n",
        "bucket/data/sub/c.csv": b"a\n4\n",
        "bucket/data/notes.txt": b"x",
        "bucket/data/none.csv": b"",
    }.items():
        with filesystem.open_output_stream(name) as sink:
            sink.write(data)
    monkeypatch.setattr(Store, "open", classmethod(lambda cls, uri: cls(filesystem, uri.partition("://")[2], uri)))
    yield filesystem


def uris(*inputs: str) -> list[str]:
    return [source.uri.removeprefix("mock://bucket/data/") for source in discover(inputs)]


def test_an_object_a_glob_and_a_prefix(bucket: pafs.FileSystem) -> None:
    assert uris("mock://bucket/data/b.jsonl") == ["b.jsonl"]
    assert uris("mock://bucket/data/[ab].*") == ["a.csv", "b.jsonl"]
    assert uris("mock://bucket/data/**/?.csv") == ["a.csv", "sub/c.csv"]
    bucket.delete_file("bucket/data/none.csv")
    assert uris("mock://bucket/data") == ["a.csv", "b.jsonl", "sub/c.csv"]


def test_rows_are_read_from_objects() -> None:
    plan = plan_inputs(discover(["mock://bucket/data/b.jsonl", "mock://bucket/data/a.csv"]), unit_rows=1)
    rows = [row["a"] for unit in plan.units for _, batch in read(unit, schema=plan.schema) for row in batch.to_pylist()]
    assert rows == [1, 2, 3]


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("mock://bucket/data/gone.csv", "no such object"),
        ("mock://bucket/data/none.csv", "empty"),
        ("mock://bucket/empty", "nothing readable"),
        ("mock://bucket/data/*.parquet", "nothing readable"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(address: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        discover([address])

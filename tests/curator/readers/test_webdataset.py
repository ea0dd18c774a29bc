"""WebDataset tars: samples as rows, and archives that mean harm."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curator.errors import InputError
from curator.readers import Limits, discover, plan_inputs, read, scan

Write = Callable[[str, bytes], str]
SAMPLES = {
    "a/0001.txt": "one é".encode(), "a/0001.cls": b"3\n", "a/0001.jpg": b"\xff\xd8", "a/0002.txt": b"two",
    "b/0001.cls": b"-7", "b/0001.seg.png": b"\x89PNG", "b/0001.json": b'{"k": [1]}',
}  # fmt: skip


def packed(members: dict[str, bytes], **how: Any) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", **how) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_members_of_one_key_are_one_row(write: Write, rows_of: Any, form: int, batch_rows: int) -> None:
    path = write("a.tar", packed(SAMPLES, format=form))
    assert rows_of(path, batch_rows=batch_rows) == [
        {"__key__": "a/0001", "cls": 3, "jpg": b"\xff\xd8", "seg.png": None, "txt": "one é", "k": None},
        {"__key__": "a/0002", "cls": None, "jpg": None, "seg.png": None, "txt": "two", "k": None},
        {"__key__": "b/0001", "cls": -7, "jpg": None, "seg.png": b"\x89PNG", "txt": None, "k": "[1]"},
    ]


def test_columns_are_projected_and_long_names_kept(write: Write, rows_of: Any) -> None:
    long = "folder/" + "k" * 300
    path = write("a.tar", packed({f"{long}.txt": b"x", f"{long}.bin": b"y"}))
    assert rows_of(path, columns=["txt", "__key__"]) == [{"txt": "x", "__key__": long}]
    plan = plan_inputs(discover([path]), unit_rows=5)
    assert [batch.num_rows for _, batch in read(plan.units[0], schema=plan.schema, columns=[])] == [1]


def test_several_tars_share_one_schema(write: Write, rows_of: Any) -> None:
    first, second = write("0.tar", packed({"x.txt": b"1"})), write("1.tar", packed({"y.txt": b"2", "y.cls": b"5"}))
    assert rows_of(first, second) == [
        {"__key__": "x", "txt": "1", "cls": None},
        {"__key__": "y", "txt": "2", "cls": 5},
    ]


def test_batches_stay_small_when_members_are_large(write: Write) -> None:
    path = write("a.tar", packed({f"{number}.bin": bytes(1000) for number in range(20)}))
    plan = plan_inputs(discover([path]), unit_rows=5)
    sizes = [batch.num_rows for _, batch in read(plan.units[0], schema=plan.schema, limits=Limits(batch_bytes=4000))]
    assert max(sizes) <= 4
    assert sum(sizes) == 20


@pytest.mark.parametrize(
    ("members", "column", "word"),
    [
        ({"a.txt": b"ok", "b.txt": b"\xff"}, "txt", "not valid UTF-8"),
        ({"a.cls": b"1", "b.cls": b"cat"}, "cls", "'cat' is not a whole number"),
    ],
)
def test_a_cell_that_does_not_fit_is_named(write: Write, members: dict[str, bytes], column: str, word: str) -> None:
    plan = plan_inputs(discover([write("a.tar", packed(members))]), unit_rows=5)
    with pytest.raises(InputError, match=word) as caught:
        list(read(plan.units[0], schema=plan.schema))
    assert (caught.value.row, caught.value.column) == (1, column)


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({}, "no files"),
        ({"README": b"x"}, "not named KEY.EXTENSION"),
        ({".hidden": b"x"}, "not named KEY.EXTENSION"),
        ({"a.txt": b"x", "a.TXT": b"y"}, "two members .txt"),
        ({"a.bin": bytes(3000)}, "more than the cap of 2000"),
        ({f"a.x{number}": b"" for number in range(9)}, "more than the cap of 8"),
    ],
)
def test_archives_that_are_refused(write: Write, members: dict[str, bytes], word: str) -> None:
    with pytest.raises(InputError, match=word):
        scan(discover([write("a.tar", packed(members))])[0], unit_rows=5, limits=Limits(cell_bytes=2000, num_columns=8))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused_and_nothing_is_unpacked(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("../../evil.txt")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    path = write("d/a.tar", sink.getvalue())
    monkeypatch.chdir(tmp_path / "d")
    with pytest.raises(InputError, match="no plain file"):
        scan(discover([path])[0], unit_rows=5)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["d", "a.tar"]


@pytest.mark.parametrize("kept", [100, 600, 1100, 9728, 2 * 9728, 2 * 9728 + 512, -20_000])
def test_an_archive_cut_short_is_named(write: Write, kept: int) -> None:
    path = write("a.tar", packed({"a.bin": bytes(9000), "b.bin": bytes(9000), "c.bin": bytes(9000)})[:kept])
    with pytest.raises(InputError, match="cut short") as caught:
        plan = plan_inputs(discover([path]), unit_rows=5)
        list(read(plan.units[0], schema=plan.schema))
    assert caught.value.file == path


def test_a_damaged_header_between_members_does_not_end_the_file(write: Write) -> None:
    data = bytearray(packed({"a.bin": b"x", "b.bin": b"y", "c.bin": b"z"}))
    data[1024:1034] = b"\xff" * 10
    with pytest.raises(InputError, match="no end mark at byte 1024"):
        scan(discover([write("a.tar", bytes(data))])[0], unit_rows=5)


def test_a_header_that_claims_gigabytes_is_refused(write: Write) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises(InputError, match="cannot be read as webdataset"):
        scan(discover([write("a.tar", data)])[0], unit_rows=5)

"""Finding inputs: order, kinds, and every way a path can be wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from curator.errors import InputError
from curator.readers import EXTENSIONS, discover
from curator.readers.discovery import belongs

Write = Callable[[str, bytes], str]


def names(*inputs: str) -> list[str]:
    return [Path(source.uri).name for source in discover(inputs)]


def test_order_is_as_given_then_sorted_inside_a_folder_or_glob(write: Write, tmp_path: Path) -> None:
    for name in ("z.csv", "d/b.jsonl", "d/a.parquet", "d/sub/0.csv", "g2.csv", "g1.csv"):
        write(name, b"x")
    assert names(str(tmp_path / "z.csv"), str(tmp_path / "d"), str(tmp_path / "g*.csv")) == [
        "z.csv", "a.parquet", "b.jsonl", "0.csv", "g1.csv", "g2.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_known_extension_is_found_in_any_case(write: Write, extension: str) -> None:
    path = write(f"data{extension.upper()}", b"x")
    [source] = discover([path])
    assert (source.format, source.compression) == EXTENSIONS[extension]
    assert source.size_bytes == 1


def test_a_folder_passes_over_what_it_does_not_know_and_hidden_names(write: Write, tmp_path: Path) -> None:
    for name in ("a.csv", "README.md", "_SUCCESS", ".hidden.csv", ".git/b.csv", "._a.csv"):
        write(name, b"x")
    assert names(str(tmp_path)) == ["a.csv"]


def test_a_recursive_glob_crosses_folders(write: Write, tmp_path: Path) -> None:
    for name in ("a.csv", "x/b.csv", "x/y/c.csv", "x/y/d.txt"):
        write(name, b"x")
    assert names(str(tmp_path / "**" / "*.csv")) == ["a.csv", "b.csv", "c.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(write: Write) -> None:
    assert names(write("part[1].csv", b"x")) == ["part[1].csv"]


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("empty.parquet", b"", "empty"),
        ("notes.txt", b"x", "unknown extension"),
        ("archive.gz", b"x", "unknown extension"),
        (".csv", b"x", "unknown extension"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(write: Write, name: str, data: bytes, word: str) -> None:
    path = write(name, data)
    with pytest.raises(InputError, match=word) as caught:
        discover([path])
    assert caught.value.file == path
    assert path in str(caught.value)


def test_a_missing_path_is_named() -> None:
    with pytest.raises(InputError, match=r"/no/such/file\.csv.*no such file"):
        discover(["/no/such/file.csv"])


def test_no_inputs_at_all() -> None:
    with pytest.raises(InputError, match="no inputs"):
        discover([])


def test_a_folder_and_a_glob_with_nothing_readable_say_what_they_hold(write: Write, tmp_path: Path) -> None:
    write("d/notes.txt", b"x")
    with pytest.raises(InputError, match=r"no readable file \(found: notes\.txt\)"):
        discover([str(tmp_path / "d")])
    with pytest.raises(InputError, match=r"no readable file \(found: nothing\)"):
        discover([str(tmp_path / "*.parquet")])


def test_an_empty_file_inside_a_folder_is_an_error_not_skipped(write: Write, tmp_path: Path) -> None:
    write("d/a.csv", b"x")
    empty = write("d/b.csv", b"")
    with pytest.raises(InputError, match="empty") as caught:
        discover([str(tmp_path / "d")])
    assert caught.value.file == empty


def test_a_file_named_twice_would_count_its_rows_twice(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", b"x")
    os.symlink(path, tmp_path / "link.csv")
    for again in (path, str(tmp_path / "*.csv"), str(tmp_path / "link.csv")):
        with pytest.raises(InputError, match="twice"):
            discover([path, again])


@pytest.mark.parametrize(
    "url",
    ["http://host/a.csv", "https://host/a.csv", "file:///a.csv", "s3://b/http://c/a.csv", "zip://x::s3://b/a.csv"],
)
def test_addresses_that_are_not_object_stores_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"not read|chained"):
        discover([url])


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from curator.errors import InputError
from curator.readers import discover
from curator.readers.discovery import belongs
os.setuid(65534)
try:
    discover([sys.argv[2]])
except InputError as error:
    print(error.file, '|', error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the user that has no permission")
@pytest.mark.parametrize("what", ["file", "folder", "subfolder"])
def test_no_permission_is_said_and_never_an_empty_folder(tmp_path: Path, write: Write, what: str) -> None:
    for parent in [tmp_path, *tmp_path.parents[:3]]:
        parent.chmod(0o755)
    path = Path(write("d/sub/a.csv", b"x"))
    shut = {"file": path, "folder": tmp_path / "d", "subfolder": tmp_path / "d" / "sub"}[what]
    asked = path if what == "file" else tmp_path / "d"
    shut.chmod(0)
    try:
        repository = str(Path(__file__).parents[3])
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, repository, str(asked)], capture_output=True, text=True, check=False
        )
    finally:
        shut.chmod(0o755)
    assert done.stdout.startswith(f"{shut} |"), done.stdout + done.stderr
    assert "no permission" in done.stdout


def test_a_folder_that_refuses_to_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="no permission to list") as caught:
        discover([str(tmp_path)])
    assert caught.value.file == str(tmp_path)


def test_a_file_that_may_not_be_read_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.csv", b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="no permission to read") as caught:
        discover([path])
    assert caught.value.file == path


def test_a_link_that_leads_out_of_the_folders_that_may_be_read(write: Write, tmp_path: Path) -> None:
    write("in/a.csv", b"x")
    outside, inside = write("out/secret.csv", b"x"), str(tmp_path / "in")
    os.symlink(outside, tmp_path / "in" / "b.csv")
    os.symlink(tmp_path / "out", tmp_path / "in" / "deeper")
    for named in (inside, f"{inside}/*.csv", f"{inside}/*/*.csv", f"{inside}/b.csv", f"{inside}/deeper/secret.csv"):
        with pytest.raises(InputError, match="a link leads out"):
            discover([named], within=[inside])
    os.remove(tmp_path / "in" / "b.csv")
    assert names(inside) == ["a.csv"]  # folders that are links are not walked
    assert [Path(source.uri).name for source in discover([inside], within=[inside, "/no/such"])] == ["a.csv"]
    with pytest.raises(InputError, match="a link leads out"):
        discover([inside], within=[])


def test_a_file_belongs_to_what_can_name_it(write: Write, tmp_path: Path) -> None:
    file, other = write("in/a.csv", b"x"), write("other/a.csv", b"x")
    os.symlink(other, tmp_path / "in" / "link.csv")
    for named in (file, str(tmp_path / "in"), str(tmp_path / "in" / "*.csv"), str(tmp_path / "i*" / "a.csv")):
        assert belongs(file, [named])
    for named in (other, str(tmp_path / "i"), "s3://data"):
        assert not belongs(file, [named])
    assert not belongs(str(tmp_path / "in" / "link.csv"), [str(tmp_path / "in")])
    assert not belongs(str(tmp_path / "in" / ".." / "other" / "a.csv"), [str(tmp_path / "in")])


@pytest.mark.parametrize(
    ("uri", "named", "so"),
    [
        ("s3://b/d/a.csv", "s3://b/d", True),
        ("s3://b/d/a.csv", "s3://b/d/*.csv", True),
        ("s3://b/d/a.csv?region=x", "s3://b/d?region=x", True),
        ("s3://b/d/a.csv?endpoint_override=evil", "s3://b/d", False),
        ("s3://b/data/a.csv", "s3://b/d", False),
        ("s3://b/d/../e/a.csv", "s3://b/d", False),
        ("s3://b/d/a.csv", "/d", False),
    ],
)
def test_an_object_belongs_to_its_prefix_as_it_is_reached(uri: str, named: str, so: bool) -> None:
    assert belongs(uri, [named]) is so

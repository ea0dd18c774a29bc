"""A write is whole or absent, and a name never leaves its store."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from curator.errors import DiskFullError, NotFoundError, RequestError, RunFailedError
from curator.storage import Store


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "root")
    store.write_bytes("a/b.bin", b"abc")
    assert store.read_bytes("a/b.bin") == b"abc"
    assert store.size("a/b.bin") == 3
    assert store.list() == ["a/b.bin"] == store.list("a")
    assert store.child("a").read_bytes("b.bin") == b"abc"
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert store.list("nowhere") == [] and not store.exists("a/b.bin")


def test_a_broken_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write_bytes("x", b"old")
    with pytest.raises(KeyError), store.writer("x") as sink:
        sink.write(b"half of the new")
        raise KeyError
    assert store.read_bytes("x") == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_full_disk_is_its_own_error_and_leaves_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(DiskFullError, match="free some and try again"), store.writer("x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunFailedError, match="cannot write 'file/x'"):
        Store.open(tmp_path).write_bytes("file/x", b"1")


def test_where_nothing_can_be_written_is_said_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path / "not" / "yet").require_writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    for place in ("file", "file/below"):
        with pytest.raises(RequestError, match="file is a file"):
            Store.open(tmp_path / place).require_writable()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RequestError, match="no permission to write"):
        Store.open(tmp_path / "not" / "yet").require_writable()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", ".."])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="leaves the store"):
        Store.open(tmp_path).path(name)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for look in (store.read_bytes, store.size, store.open_input):
        with pytest.raises(NotFoundError, match="gone"):
            look("gone")


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(RequestError, match="cannot open"):
        Store.open("carrier-pigeon://roof")


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    code = f"""
        import os
        from curator.storage import Store
        with Store.open({str(tmp_path)!r}).writer("a/rows.arrow") as sink:
            sink.write(b"half")
            os._exit(9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, cwd=Path(__file__).parents[2])
    store = Store.open(tmp_path)
    [left] = store.list()
    with store.writer("a/other.arrow") as sink:
        sink.write(b"whole")
        (tmp_path / "a" / "mine.tmp").write_bytes(b"not of the store")
        assert len(store.list()) == 3
        assert store.sweep() == 1 and store.sweep("a") == 0
    assert not store.exists(left)
    assert store.list() == ["a/mine.tmp", "a/other.arrow"]


def test_a_temporary_file_of_another_host_is_left_for_a_day(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow~elsewhere~boot-1~17~99~1.tmp"
    path.write_bytes(b"half")
    assert Store.open(tmp_path).sweep() == 0
    old = path.stat().st_mtime - 100_000
    os.utime(path, (old, old))
    assert Store.open(tmp_path).sweep() == 1 and not path.exists()


def test_a_file_is_renewed_where_it_is_ones_own_and_of_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    store.write_bytes("a.bin", b"abc")
    os.utime(tmp_path / "a.bin", (1, 1))
    assert store.renew("a.bin", 3) and (tmp_path / "a.bin").stat().st_mtime > 1
    assert not store.renew("a.bin", 4) and not store.renew("b.bin", 3)

    def refuse(path: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    monkeypatch.setattr(os, "utime", refuse)
    assert not store.renew("a.bin", 3), "another user's: it is written again"


def test_a_folder_that_appears_in_the_midst_of_a_look_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    class Appearing(pafs.LocalFileSystem):
        looks = 0

        def get_file_info(self, selector: object) -> object:
            self.looks += 1
            if self.looks == 1:
                (tmp_path / "a" / "b.bin").write_bytes(b"")
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            return super().get_file_info(selector)

    assert Store(Appearing(), str(tmp_path), str(tmp_path)).list() == ["a/b.bin"]
